// The whole engine on a small golden model, MoE-LLaVA on Phi.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "tests/testing/collecting_sink.h"

namespace tessera::testing {

// A file beside the model.
std::string ReadImage(const std::string& name);
// Greedy and not ended by an end token; with the image's name, if any.
Request Ask(const std::string& text, const std::string& image = "", int32_t max_tokens = 24);

std::unique_ptr<Engine> StartPhi(std::unique_ptr<Backend> backend, const EngineOptions& options,
                                 RouterMode router = RouterMode::kDeterministic);
// On the CPU.
std::unique_ptr<Engine> StartPhi(const EngineOptions& options = {},
                                 RouterMode router = RouterMode::kDeterministic,
                                 DType dtype = DType::kFloat32);

std::shared_ptr<CollectingSink> Submit(Engine& engine, const Request& request,
                                       Ticket* ticket = nullptr);
std::vector<int32_t> RunAlone(Engine& engine, const Request& request);
std::vector<std::vector<int32_t>> RunTogether(Engine& engine, const std::vector<Request>& requests);
// Everything that requests held is given back.
void ExpectIdle(Engine& engine);

}  // namespace tessera::testing
