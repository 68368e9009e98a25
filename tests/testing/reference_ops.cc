#include "tests/testing/reference_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace tessera::testing::reference {

double Activate(Activation activation, double x) {
  const auto sigmoid = [](double u) { return 1.0 / (1.0 + std::exp(-u)); };
  switch (activation) {
    case Activation::kNone:
      return x;
    case Activation::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    case Activation::kGeluTanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    case Activation::kQuickGelu:
      return x * sigmoid(1.702 * x);
    case Activation::kSilu:
      return x * sigmoid(x);
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Values Linear(const Values& x, const Values& weight, const Values& bias, int64_t in, int64_t out,
              Activation activation) {
  const int64_t rows = static_cast<int64_t>(x.size()) / in;
  Values y(rows * out);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias.empty() ? 0 : bias[o];
      for (int64_t i = 0; i < in; ++i) sum += x[t * in + i] * weight[o * in + i];
      y[t * out + o] = Activate(activation, sum);
    }
  }
  return y;
}

namespace {

// The numbers of a format that are not negative, ascending: number i has bits i.
std::vector<float> NumbersOf(WeightFormat format) {
  std::vector<float> numbers;
  for (int bits = 0; bits <= (format == WeightFormat::kInt8 ? 127 : 0x7e); ++bits) {
    const int exponent = bits >> 3;
    const auto fraction = static_cast<float>(bits & 7) / 8;
    if (format == WeightFormat::kInt8) {
      numbers.push_back(static_cast<float>(bits));
    } else {
      numbers.push_back(exponent == 0 ? std::ldexp(fraction, -6)
                                      : std::ldexp(1 + fraction, exponent - 7));
    }
  }
  return numbers;
}

// The one of `numbers` nearest to x ≥ 0, of two the one with an even place.
float Nearest(const std::vector<float>& numbers, float x) {
  const auto above = std::lower_bound(numbers.begin(), numbers.end(), x);
  if (above == numbers.end()) return numbers.back();
  if (above == numbers.begin()) return *above;
  const double up = double{*above} - x;
  const double down = double{x} - *(above - 1);
  const bool even = (above - numbers.begin()) % 2 == 0;
  return up < down || (up == down && even) ? *above : *(above - 1);
}

// The float nearest to x ≥ 0 with five significant bits, ties to even.
float FiveBits(float x) {
  if (x == 0) return 0;
  const int exponent = std::ilogb(x) - 4;
  return std::ldexp(std::nearbyint(std::ldexp(x, -exponent)), exponent);
}

// Groups of 64 columns.
Values QuantizedTo4Bits(const std::vector<float>& weight, int64_t in) {
  Values kept(weight.size());
  for (size_t row = 0; row < weight.size(); row += in) {
    for (int64_t begin = 0; begin < in; begin += 64) {
      const auto group = std::span(weight).subspan(row + begin, std::min<int64_t>(64, in - begin));
      float largest = 0;
      for (const float x : group) largest = std::max(largest, std::abs(x));
      const float scale = FiveBits(largest / 7);
      for (size_t i = 0; i < group.size(); ++i) {
        const float number = scale > 0 ? std::nearbyint(group[i] / scale) : 0.0f;
        kept[row + begin + i] = double{scale} * std::clamp(number, -7.0f, 7.0f);
      }
    }
  }
  return kept;
}

}  // namespace

Values Quantized(const std::vector<float>& weight, int64_t in, WeightFormat format) {
  Values kept(weight.begin(), weight.end());
  if (format == WeightFormat::kActivations) return kept;
  if (format == WeightFormat::kInt4) return QuantizedTo4Bits(weight, in);
  const std::vector<float> numbers = NumbersOf(format);
  for (size_t row = 0; row < weight.size(); row += in) {
    float largest = 0;
    for (int64_t i = 0; i < in; ++i) largest = std::max(largest, std::abs(weight[row + i]));
    const float scale = largest / numbers.back();
    for (int64_t i = 0; i < in; ++i) {
      const float x = scale > 0 ? weight[row + i] / scale : 0.0f;
      kept[row + i] = double{scale} * std::copysign(Nearest(numbers, std::abs(x)), x);
    }
  }
  return kept;
}

std::vector<float> Float8Rows(const std::vector<float>& rows, int64_t dim) {
  const std::vector<float> numbers = NumbersOf(WeightFormat::kFloat8);
  std::vector<float> kept(rows.size());
  for (size_t row = 0; row < rows.size(); row += dim) {
    float largest = 0;
    for (int64_t i = 0; i < dim; ++i) largest = std::max(largest, std::abs(rows[row + i]));
    float scale = 1;
    while (largest > scale * numbers.back()) scale *= 2;
    while (largest > 0 && largest <= scale / 2 * numbers.back()) scale /= 2;
    for (int64_t i = 0; i < dim; ++i) {
      const float x = rows[row + i];
      kept[row + i] = std::copysign(scale * Nearest(numbers, std::abs(x) / scale), x);
    }
  }
  return kept;
}

float Float8Number(uint8_t bits) {
  if ((bits & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = NumbersOf(WeightFormat::kFloat8)[bits & 0x7f];
  return bits < 0x80 ? magnitude : -magnitude;
}

Values Norm(const Values& x, const Values& weight, const Values& bias, NormKind kind,
            double epsilon) {
  const size_t cols = weight.size();
  Values y(x.size());
  for (size_t begin = 0; begin < x.size(); begin += cols) {
    double mean = 0;
    if (kind == NormKind::kLayerNorm) {
      for (size_t i = 0; i < cols; ++i) mean += x[begin + i] / cols;
    }
    double variance = 0;
    for (size_t i = 0; i < cols; ++i) variance += std::pow(x[begin + i] - mean, 2) / cols;
    for (size_t i = 0; i < cols; ++i) {
      y[begin + i] = (x[begin + i] - mean) / std::sqrt(variance + epsilon) * weight[i] +
                     (bias.empty() ? 0 : bias[i]);
    }
  }
  return y;
}

Values GatedActivate(const Values& x, int64_t ffn, Activation activation) {
  Values y(x.size() / 2);
  for (size_t i = 0; i < y.size(); ++i) {
    const size_t gate = i / ffn * 2 * ffn + i % ffn;
    y[i] = Activate(activation, x[gate]) * x[gate + ffn];
  }
  return y;
}

void Rotate(double* head, int64_t pairs, const double* cosine, const double* sine) {
  for (int64_t i = 0; i < pairs; ++i) {
    const double a = head[i];
    const double b = head[i + pairs];
    head[i] = a * cosine[i] - b * sine[i];
    head[i + pairs] = b * cosine[i] + a * sine[i];
  }
}

Values AttendOne(const double* query, const Values& keys, const Values& values, int64_t head_dim,
                 double scale, int64_t first, int64_t last) {
  Values scores;
  for (int64_t key = first; key <= last; ++key) {
    double dot = 0;
    for (int64_t i = 0; i < head_dim; ++i) dot += query[i] * keys[key * head_dim + i];
    scores.push_back(scale * dot);
  }
  const double most = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (double score : scores) total += std::exp(score - most);
  Values y(head_dim, 0.0);
  for (int64_t key = first; key <= last; ++key) {
    const double probability = std::exp(scores[key - first] - most) / total;
    for (int64_t i = 0; i < head_dim; ++i) y[i] += probability * values[key * head_dim + i];
  }
  return y;
}

RoutingValues Route(const Values& x, const Values& router, const Values& bias, const Values& noise,
                    int64_t hidden, int64_t experts, const RouterConfig& config) {
  RoutingValues result;
  result.logits = Linear(x, router, bias, hidden, experts, Activation::kNone);
  const int64_t rows = static_cast<int64_t>(x.size()) / hidden;
  for (int64_t t = 0; t < rows; ++t) {
    const double* logits = &result.logits[t * experts];
    double total = 0;
    for (int64_t e = 0; e < experts; ++e) total += std::exp(logits[e]);
    std::vector<int32_t> chosen;
    double chosen_total = 0;
    for (int j = 0; j < config.experts_per_token; ++j) {
      int32_t best = -1;
      double best_score = 0;
      for (int32_t e = 0; e < experts; ++e) {
        if (std::find(chosen.begin(), chosen.end(), e) != chosen.end()) continue;
        const double score = logits[e] + (j > 0 && !noise.empty() ? noise[t * experts + e] : 0.0);
        if (best < 0 || score > best_score) {
          best = e;
          best_score = score;
        }
      }
      chosen.push_back(best);
      chosen_total += std::exp(logits[best]) / total;
    }
    for (int32_t e : chosen) {
      const double probability = std::exp(logits[e]) / total;
      result.experts.push_back(e);
      result.weights.push_back(config.renormalize ? probability / chosen_total : probability);
    }
  }
  result.places.resize(result.experts.size());
  for (int32_t e = 0; e < experts; ++e) {
    result.starts.push_back(static_cast<int32_t>(result.sorted.size()));
    for (size_t i = 0; i < result.experts.size(); ++i) {
      if (result.experts[i] != e) continue;
      result.places[i] = static_cast<int32_t>(result.sorted.size());
      result.sorted.push_back(static_cast<int32_t>(i) / config.experts_per_token);
    }
  }
  result.starts.push_back(static_cast<int32_t>(result.sorted.size()));
  return result;
}

Values ExpertUp(const Values& x, const Expert& expert, int64_t hidden, int64_t ffn,
                Activation activation, bool gated) {
  if (!gated) return Linear(x, expert.up, expert.up_bias, hidden, ffn, activation);
  const Values both = Linear(x, expert.up, expert.up_bias, hidden, 2 * ffn, Activation::kNone);
  return GatedActivate(both, ffn, activation);
}

Values ExpertDown(const Values& inner, const Expert& expert, int64_t hidden, int64_t ffn) {
  return Linear(inner, expert.down, expert.down_bias, ffn, hidden, Activation::kNone);
}

Values AddLora(const Values& base, const Values& x, const std::vector<Values>& a,
               const std::vector<Values>& b, const Values& gates, double scale, int64_t in,
               int64_t rank, int64_t out) {
  Values y = base;
  for (size_t e = 0; e < a.size(); ++e) {
    const Values inner = Linear(x, a[e], {}, in, rank, Activation::kNone);
    const Values low = Linear(inner, b[e], {}, rank, out, Activation::kNone);
    for (size_t i = 0; i < y.size(); ++i) y[i] += scale * gates[i / out * a.size() + e] * low[i];
  }
  return y;
}

}  // namespace tessera::testing::reference
