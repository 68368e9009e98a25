// The tile tables of cuda/tiles/, as they are there (tile_file.h).
#pragma once

#include <string_view>
#include <vector>

namespace tessera {

const std::vector<std::string_view>& ShippedTiles();

}  // namespace tessera
