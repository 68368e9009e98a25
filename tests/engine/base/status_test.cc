#include "engine/base/status.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>

namespace tessera {
namespace {

TEST(StatusTest, ReasonsHaveTheirPublicNames) {
  const struct {
    ErrorReason reason;
    std::string_view name;
  } cases[] = {
      {ErrorReason::kInvalidParameter, "INVALID_PARAMETER"},
      {ErrorReason::kContextLengthExceeded, "CONTEXT_LENGTH_EXCEEDED"},
      {ErrorReason::kKvCapacityExceeded, "KV_CAPACITY_EXCEEDED"},
      {ErrorReason::kImageDecodeFailed, "IMAGE_DECODE_FAILED"},
      {ErrorReason::kImageTooLarge, "IMAGE_TOO_LARGE"},
      {ErrorReason::kTooManyImages, "TOO_MANY_IMAGES"},
      {ErrorReason::kModalityNotSupported, "MODALITY_NOT_SUPPORTED"},
      {ErrorReason::kModelNotFound, "MODEL_NOT_FOUND"},
      {ErrorReason::kModelLoading, "MODEL_LOADING"},
      {ErrorReason::kQueueFull, "QUEUE_FULL"},
      {ErrorReason::kDraining, "DRAINING"},
      {ErrorReason::kDeadlineExceeded, "DEADLINE_EXCEEDED"},
      {ErrorReason::kShutdownAborted, "SHUTDOWN_ABORTED"},
      {ErrorReason::kEngineFailure, "ENGINE_FAILURE"},
      {ErrorReason::kSlowReader, "SLOW_READER"},
      {ErrorReason::kUploadTooSlow, "UPLOAD_TOO_SLOW"},
      {ErrorReason::kMessageTooLarge, "MESSAGE_TOO_LARGE"},
      {ErrorReason::kMethodNotFound, "METHOD_NOT_FOUND"},
  };
  EXPECT_EQ(std::size(cases), size_t{kErrorReasons});
  for (const auto& test : cases) EXPECT_EQ(ErrorReasonName(test.reason), test.name);
}

TEST(StatusTest, CarriesReasonFieldAndMessage) {
  const absl::Status status = RequestError(absl::StatusCode::kNotFound, ErrorReason::kModelNotFound,
                                           "model", "no such model");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(StatusReason(status), "MODEL_NOT_FOUND");
  EXPECT_EQ(StatusField(status), "model");
  EXPECT_EQ(StatusMessage(status), "no such model");
  EXPECT_TRUE(ErrorMetadata(status).empty());
  EXPECT_EQ(StatusField(RequestError(absl::StatusCode::kInternal, ErrorReason::kEngineFailure, "",
                                     "broken")),
            "");
}

TEST(StatusTest, PlainStatusesCarryNothing) {
  for (const absl::Status& status : {absl::OkStatus(), absl::InternalError("x")}) {
    EXPECT_EQ(StatusReason(status), "");
    EXPECT_EQ(StatusField(status), "");
    EXPECT_TRUE(ErrorMetadata(status).empty());
  }
}

TEST(StatusTest, FieldsArePlacedBelowAPrefix) {
  const absl::Status inner = InvalidField("stop[2]", "empty");
  EXPECT_EQ(inner.code(), absl::StatusCode::kInvalidArgument);
  const absl::Status outer = AtField(inner, "sampling", ErrorReason::kImageTooLarge);
  EXPECT_EQ(StatusField(outer), "sampling.stop[2]");
  EXPECT_EQ(StatusReason(outer), "INVALID_PARAMETER") << "a reason once given stays";
  EXPECT_EQ(StatusField(AtField(outer, "request", ErrorReason::kImageTooLarge)),
            "request.sampling.stop[2]");

  const absl::Status bare =
      AtField(absl::InvalidArgumentError("no image"), "images[1]", ErrorReason::kImageDecodeFailed);
  EXPECT_EQ(StatusField(bare), "images[1]");
  EXPECT_EQ(StatusReason(bare), "IMAGE_DECODE_FAILED");
  EXPECT_TRUE(AtField(absl::OkStatus(), "images", ErrorReason::kInvalidParameter).ok());
}

TEST(StatusTest, MetadataIsKeptByKey) {
  absl::Status status = WithErrorMetadata(InvalidField("input", "too long"), "max_context", "2048");
  status = WithErrorMetadata(status, "rows", "3000");
  EXPECT_EQ(ErrorMetadata(status),
            (std::map<std::string, std::string>{{"max_context", "2048"}, {"rows", "3000"}}));
  EXPECT_EQ(StatusField(status), "input");
}

TEST(StatusTest, AnnotateKeepsCodeAndPayloads) {
  const absl::Status status =
      Annotate(WithErrorMetadata(InvalidField("top_p", "is 2"), "k", "v"), "request 7");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(StatusMessage(status), "request 7: is 2");
  EXPECT_EQ(StatusField(status), "top_p");
  EXPECT_EQ(StatusReason(status), "INVALID_PARAMETER");
  EXPECT_EQ(ErrorMetadata(status).at("k"), "v");
  EXPECT_TRUE(Annotate(absl::OkStatus(), "nothing").ok());
}

absl::StatusOr<std::unique_ptr<int>> MakeNumber(bool works) {
  if (!works) return absl::AbortedError("did not work");
  return std::make_unique<int>(7);
}

absl::StatusOr<int> UseNumber(bool first, bool second) {
  ASSIGN_OR_RETURN(std::unique_ptr<int> number, MakeNumber(first));
  RETURN_IF_ERROR(MakeNumber(second).status());
  return *number;
}

TEST(StatusTest, MacrosReturnTheFirstError) {
  EXPECT_EQ(UseNumber(true, true).value(), 7);
  EXPECT_EQ(UseNumber(false, true).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(UseNumber(true, false).status().code(), absl::StatusCode::kAborted);
}

}  // namespace
}  // namespace tessera
