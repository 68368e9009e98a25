// The judge of every device: each backend operation in double precision, as plainly as its formula,
// from scratch. Matrices are row-major vectors of double; shapes are those of
// engine/backend/backend.h.
#pragma once

#include <cstdint>
#include <vector>

#include "cuda/weight_format.h"
#include "engine/backend/backend.h"

namespace tessera::testing::reference {

using Values = std::vector<double>;

double Activate(Activation activation, double x);

// x [rows, in], weight [out, in], bias [out] or empty → [rows, out].
Values Linear(const Values& x, const Values& weight, const Values& bias, int64_t in, int64_t out,
              Activation activation);

// What a device keeps of weight [rows, in] in the format: each row's, or group's, scale times its
// numbers.
Values Quantized(const std::vector<float>& weight, int64_t in, WeightFormat format);

// What a KV cache of 8 bits keeps of rows of `dim` numbers: each row's scale times its numbers. Of
// magnitudes within what every 16-bit type holds of 448 times a scale.
std::vector<float> Float8Rows(const std::vector<float>& rows, int64_t dim);

// The number that E4M3 bits stand for.
float Float8Number(uint8_t bits);

// x [rows, cols]; bias empty for none.
Values Norm(const Values& x, const Values& weight, const Values& bias, NormKind kind,
            double epsilon);

// x [rows, 2·ffn] → [rows, ffn].
Values GatedActivate(const Values& x, int64_t ffn, Activation activation);

// Turns the first 2·pairs dims of `head`; angle i is (cosine[i], sine[i]).
void Rotate(double* head, int64_t pairs, const double* cosine, const double* sine);

// One query head against `keys` keys [keys, head_dim] and values → [head_dim]; it sees those in
// [first, last].
Values AttendOne(const double* query, const Values& keys, const Values& values, int64_t head_dim,
                 double scale, int64_t first, int64_t last);

struct RoutingValues {
  Values logits;                 // [rows, experts]
  std::vector<int32_t> experts;  // [rows, k]
  Values weights;                // [rows, k]
  std::vector<int32_t> starts;   // [experts + 1]
  std::vector<int32_t> sorted;   // [rows · k]
  std::vector<int32_t> places;   // [rows, k]
};
// noise [rows, experts] or empty.
RoutingValues Route(const Values& x, const Values& router, const Values& bias, const Values& noise,
                    int64_t hidden, int64_t experts, const RouterConfig& config);

// One expert: down(act(up x)) or, gated, down(act(gate) ⊙ up) with up [2·ffn, hidden].
struct Expert {
  Values up, up_bias, down, down_bias;
};
// What is between up and down, and down of that.
Values ExpertUp(const Values& x, const Expert& expert, int64_t hidden, int64_t ffn,
                Activation activation, bool gated);
Values ExpertDown(const Values& inner, const Expert& expert, int64_t hidden, int64_t ffn);

// base [rows, out] + scale · Σ_e gates[t, e] · (x A_eᵀ) B_eᵀ; a [E][rank · in], b [E][out · rank],
// gates [rows, E].
Values AddLora(const Values& base, const Values& x, const std::vector<Values>& a,
               const std::vector<Values>& b, const Values& gates, double scale, int64_t in,
               int64_t rank, int64_t out);

}  // namespace tessera::testing::reference
