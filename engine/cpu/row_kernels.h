// Arithmetic on single rows of float32, vectorised for the processor at hand. Rows of other dtypes
// are widened first and narrowed once at the end. A result depends only on the row's own values,
// never on where it lies. No alignment is asked for.
#pragma once

#include <cstdint>

#include "engine/backend/backend.h"

namespace tessera::rows {

// x [n] of float32, bfloat16 or float16 → y.
void Widen(const void* x, DType dtype, int64_t n, float* y);
// x → y [n] of float32, bfloat16 or float16, rounded to nearest, ties to even.
void Narrow(const float* x, DType dtype, int64_t n, void* y);

// The same for `count` rows of n, `x_stride` and `y_stride` elements apart.
void NarrowEach(const float* x, int64_t x_stride, int64_t count, int64_t n, DType dtype,
                int64_t y_stride, void* y);
// y += x for `count` rows y of n, `stride` apart.
void AddToEach(const float* x, int64_t n, int64_t count, int64_t stride, float* y);

// y += x.
void Add(const float* x, int64_t n, float* y);
// y += scale · x.
void AddScaled(const float* x, float scale, int64_t n, float* y);
// The same of x of any float dtype; `wide` [n] is scratch.
void AddScaled(const void* x, DType dtype, float scale, int64_t n, float* wide, float* y);
// x = scale · x.
void Scale(float scale, int64_t n, float* x);
// x = act(x).
void Activate(Activation activation, int64_t n, float* x);
// gate = act(gate) ⊙ up.
void GatedActivate(Activation activation, const float* up, int64_t n, float* gate);
// x = norm(x) · weight + bias; bias null for none.
void Norm(NormKind kind, float epsilon, const float* weight, const float* bias, int64_t n,
          float* x);
// Turns pair i = (x[i], x[i + pairs]) by the angle of (cosine[i], sine[i]).
void Rotate(const float* cosine, const float* sine, int64_t pairs, float* x);
// x · w.
float Dot(const float* x, const float* w, int64_t n);

}  // namespace tessera::rows
