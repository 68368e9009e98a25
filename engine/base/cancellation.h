// Whether anybody still waits for what is being made. Who makes it asks between small pieces of
// work, such as the rows of an image.
#pragma once

namespace tessera {

class Cancellation {
 public:
  virtual ~Cancellation() = default;
  // Once it says yes it always does. Any thread.
  virtual bool Requested() const = 0;
};

class NeverCancelled final : public Cancellation {
 public:
  bool Requested() const override { return false; }
};
inline const NeverCancelled kNeverCancelled;

}  // namespace tessera
