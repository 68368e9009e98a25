// Flags that several subcommands share. Sampling flags write straight into the request, so that
// what is not given stays unset and the server's defaults hold; the server, not the command, judges
// their ranges.
#pragma once

#include <CLI/App.hpp>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/prompt.h"

namespace tessera {

struct ConnectionFlags {
  std::string address = "127.0.0.1:50051";
  // For one call.
  absl::Duration timeout;
};

// "30s", "500ms", "1m30s"; a bare number is seconds; 0 is no limit. INVALID_ARGUMENT for anything
// else.
absl::StatusOr<absl::Duration> ParseTimeout(const std::string& text);

// For CLI::Option::check() of every text that is sent: what is wrong with it, empty for nothing.
std::string IsUtf8(const std::string& text);

// --address, --timeout.
void AddConnectionFlags(CLI::App& app, absl::Duration default_timeout, ConnectionFlags* flags);

// The question, --image, --system, --messages, --prompt-raw, --token-ids, and --model and
// --parse-special-tokens.
void AddPromptFlags(CLI::App& app, PromptSource* source, v1::GenerateRequest* request);

// How tokens are chosen and when to stop.
void AddSamplingFlags(CLI::App& app, v1::SamplingParams* params);

// --max-image-tokens.
void AddImageLimitFlag(CLI::App& app, v1::GenerateRequest* request);

// --image-mode, --max-image-tokens, --cache-salt, --request-id.
void AddRequestFlags(CLI::App& app, v1::GenerateRequest* request);

// Where no input is named and standard input is no terminal, that is the question, without its last
// line break. INVALID_ARGUMENT when there is no question or more than one input.
absl::Status CompletePrompt(PromptSource* source);

}  // namespace tessera
