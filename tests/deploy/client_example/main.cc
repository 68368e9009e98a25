// Names the models of the server at the address given.
#include <cstdio>

#include "client/client.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto client = tessera::Client::Connect(argv[1]);
  if (!client.ok()) return 1;
  const auto models = (*client)->ListModels();
  if (!models.ok()) return 3;
  for (const auto& model : models->models()) std::puts(model.name().c_str());
  return 0;
}
