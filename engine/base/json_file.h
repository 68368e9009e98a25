// Reads JSON files of a model directory and their fields, with errors that name file, field and
// value.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

// At most 64 MiB, at most 64 levels deep. `purpose`: who wants the file and what it would hold, for
// the error where it is not there.
absl::StatusOr<nlohmann::json> ReadJsonFile(const std::filesystem::path& path,
                                            std::string_view purpose = "");

// Fields of one object. The first wrong one is remembered and every later getter returns its
// default, so that a reader is a plain list of assignments followed by one look at status(). Which
// keys were asked for is remembered, too, so that none is passed over in silence; copies and nested
// objects share that memory.
class JsonFields {
 public:
  // `place` begins every error, e.g. "model/config.json".
  JsonFields(const nlohmann::json& object, std::string place);

  int64_t Int(const std::string& key, int64_t low, int64_t high);
  int64_t IntOr(const std::string& key, int64_t fallback, int64_t low, int64_t high);
  double NumberOr(const std::string& key, double fallback, double low, double high);
  bool BoolOr(const std::string& key, bool fallback);
  std::string StringOr(const std::string& key, const std::string& fallback);
  std::string String(const std::string& key);
  std::vector<int64_t> Ints(const std::string& key, int64_t low, int64_t high);
  // Present and not null.
  bool Has(const std::string& key) const;
  // The object under `key`; an empty one (and an error) if it is not there.
  JsonFields Object(const std::string& key);
  // What the getters find of keys that the object does not name; a key that it sets to null is
  // named.
  void SetDefaults(nlohmann::json defaults) { defaults_ = std::move(defaults); }
  struct Field {
    std::string path;  // the keys that lead to it: "text_config.rope_theta"
    const nlohmann::json* value;
  };
  // What nobody asked for.
  std::vector<Field> Unread() const;
  // Remembers a complaint about a field's value.
  void Refuse(const std::string& key, const std::string& why);

  const nlohmann::json& object() const { return *object_; }
  const std::string& place() const { return place_; }
  absl::Status status() const { return status_; }
  // Takes over another's complaint, e.g. a nested object's.
  void Merge(const JsonFields& nested);

 private:
  const nlohmann::json* Lookup(const std::string& key) const;
  const nlohmann::json* Find(const std::string& key, bool required);
  void AppendUnread(const nlohmann::json& object, const std::string& path,
                    std::vector<Field>& unread) const;

  const nlohmann::json* object_;
  std::string place_;
  std::string path_;  // of this object in the outermost one, with a dot at its end
  // Of all that was asked for; an object's stands there with a dot, too, where its keys are asked
  // for one by one.
  std::shared_ptr<std::set<std::string>> read_ = std::make_shared<std::set<std::string>>();
  nlohmann::json defaults_ = nlohmann::json::object();
  absl::Status status_;
};

}  // namespace tessera
