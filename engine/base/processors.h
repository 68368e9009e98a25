// How many processors this process may use.
#pragma once

#include <optional>
#include <string>

namespace tessera {

struct Processors {
  int allowed = 1;              // by affinity
  std::optional<double> quota;  // of a control group's time (ControlGroupCpus)

  // The smaller of both; a part of a processor counts as a whole one.
  int threads() const;
  // "threads: 2 of 4 processors, the control group allows 1.5".
  std::string Describe() const;
};

Processors UsableProcessors();

}  // namespace tessera
