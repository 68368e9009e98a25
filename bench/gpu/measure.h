// What a row of a measurement is: times of an operation, and the floor that the machine's own
// ceilings set for it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

namespace tessera::bench {

// What the machine can do, as bench/gpu/ceilings.cu (or --smoke on the host) measured it.
struct Ceilings {
  double copy_bytes_per_second = 0;    // read plus written
  double dense_flops_per_second = 0;   // bfloat16, 8192³, random data
  double float8_flops_per_second = 0;  // the same of E4M3; 0: not measured

  // Lines of "name,value"; other names are passed over. The first two must be there and positive.
  static bool Read(const std::string& path, Ceilings& ceilings);
};

// The least an operation has to do: each input read once, each output written once.
struct Work {
  double bytes = 0;
  double flops = 0;
};
struct Floor {
  double seconds = 0;
  bool memory_bound = false;
};
Floor FloorOf(const Work& work, const Ceilings& ceilings);

struct Quantiles {
  double p10 = 0;
  double median = 0;
  double p90 = 0;
};
// By the nearest rank; values must not be empty.
Quantiles QuantilesOf(std::vector<double> values);

struct Row {
  std::string section;  // "moe", "attention", "dense", "vision", "step", "sampling"
  std::string what;     // "layer", "experts", …
  std::string shape;    // a geometry's name
  int64_t tokens = 0;
  std::string detail;  // routing, or batch and context
  std::vector<double> seconds;
  Work work;
  double error = -1;  // ‖out − ref‖ / ‖ref‖ of the sampled rows; < 0: not checked in this row
  double tolerance = 0;
};

// A CSV file, flushed after each row, and the same rows on stdout. Columns: kColumns.
class Table {
 public:
  static constexpr const char* kColumns =
      "contender,section,what,shape,tokens,detail,timing,samples,p10_us,median_us,p90_us,floor_us,"
      "bound,of_floor_percent,gb_per_s,tflop_per_s,error,check";

  // Appends to the file, or begins it with the names of the columns. Ends the process when it
  // cannot be written.
  Table(const std::string& path, std::string contender, std::string timing,
        const Ceilings& ceilings);
  void Add(const Row& row);
  int failed_checks() const { return failed_checks_; }

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::unique_ptr<std::FILE, Close> file_;
  const std::string contender_;
  const std::string timing_;
  const Ceilings ceilings_;
  int failed_checks_ = 0;
};

}  // namespace tessera::bench
