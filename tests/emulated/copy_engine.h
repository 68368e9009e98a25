// Whether the emulated GPU's driver knows tensor maps.
#pragma once

namespace tessera::gpu::emulated {

// Of the one thread that packs; at first it does.
void SetTensorMaps(bool known);

}  // namespace tessera::gpu::emulated
