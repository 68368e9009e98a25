// Every key of every golden config.json and preprocessor_config.json: one that decides results is
// read or refused, or its absence is what the library means. The library's meaning is
// tests/golden/config_defaults.json, made from its own classes.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/base/status.h"
#include "engine/model/arch/architectures.h"
#include "engine/model/unused_keys.h"
#include "tests/testing/data_path.h"
#include "tests/testing/temporary_directory.h"
#include "tests/testing/tokenizer_files.h"

namespace tessera {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Case {
  fs::path dir;  // with model/, perhaps vision_tower/ and base/
  std::string file = "model/config.json";

  bool of_processor() const { return file.ends_with("preprocessor_config.json"); }
  std::span<const UnusedKey> keys() const {
    return of_processor() ? ProcessorKeys() : UnusedConfigKeys();
  }
};

// Whether no other file of the case has its place.
bool IsRead(const fs::path& dir, std::string_view file) {
  if (file == "base/config.json") return !fs::exists(dir / "model/config.json");
  if (file == "model/preprocessor_config.json") {
    return !fs::exists(dir / "model/processor_config.json");
  }
  return true;
}

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const char* folder : {"golden/models", "golden/configs", "../../shared/golden/models",
                             "../../shared/golden/modern"}) {
    const fs::path root = testing::DataPath(folder);
    if (!fs::exists(root)) continue;
    for (const auto& entry : fs::directory_iterator(root)) {
      for (const char* file :
           {"model/config.json", "model/mole.json", "model/adapter_config.json", "base/config.json",
            "vision_tower/config.json", "model/preprocessor_config.json",
            "vision_tower/preprocessor_config.json"}) {
        if (fs::exists(entry.path() / file) && IsRead(entry.path(), file)) {
          cases.push_back({entry.path(), file});
        }
      }
    }
  }
  return cases;
}

// A case's JSON files in a directory of their own, one of them changed at will.
class Release {
 public:
  explicit Release(const Case& which) : file_(root() / which.file) {
    for (const char* part : {"model", "vision_tower", "base"}) {
      if (!fs::exists(which.dir / part)) continue;
      fs::create_directory(root() / part);
      for (const auto& entry : fs::directory_iterator(which.dir / part)) {
        const std::string ending = entry.path().extension();
        if (ending == ".json" || ending == ".pt" || part == std::string("model")) {
          fs::create_symlink(fs::absolute(entry.path()), root() / part / entry.path().filename());
        }
      }
    }
    config_ = ReadJsonFile(which.dir / which.file).value();
    fs::remove(file_);
    spec_ = Read(config_).value();
  }

  // Without its warnings, which are in `warnings`.
  absl::StatusOr<ModelSpec> Read(const json& config) {
    testing::WriteFile(file_, config.dump());
    const auto part = [&](const char* name) {
      return fs::exists(root() / name) ? root() / name : fs::path();
    };
    ASSIGN_OR_RETURN(ModelSpec spec,
                     ReadModelSpec({root() / "model", part("vision_tower"), part("base")}));
    warnings_ = std::exchange(spec.warnings, {});
    return spec;
  }
  bool Warned(const std::string& of) const {
    for (const std::string& warning : warnings_) {
      if (warning.find("\"" + of + "\"") != std::string::npos) return true;
    }
    return false;
  }

  const json& config() const { return config_; }
  const ModelSpec& spec() const { return spec_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  const fs::path& root() const { return directory_.path(); }

  testing::TemporaryDirectory directory_;
  fs::path file_;
  json config_;
  ModelSpec spec_;
  std::vector<std::string> warnings_;
};

using Path = std::vector<std::string>;

std::string Dotted(const Path& path) {
  std::string text;
  for (const std::string& key : path) text += (text.empty() ? "" : ".") + key;
  return text;
}

void AppendPaths(const json& object, const Path& outer, std::vector<Path>& paths) {
  for (const auto& [key, value] : object.items()) {
    Path path = outer;
    path.push_back(key);
    paths.push_back(path);
    if (value.is_object()) AppendPaths(value, path, paths);
  }
}

std::vector<Path> Paths(const json& config) {
  std::vector<Path> paths;
  AppendPaths(config, {}, paths);
  return paths;
}

json& Owner(json& config, const Path& path) {
  json* owner = &config;
  for (size_t i = 0; i + 1 < path.size(); ++i) owner = &(*owner)[path[i]];
  return *owner;
}

json With(json config, const Path& path, const json& value) {
  Owner(config, path)[path.back()] = value;
  return config;
}

json Without(json config, const Path& path) {
  Owner(config, path).erase(path.back());
  return config;
}

json Renamed(json config, const Path& path) {
  json& owner = Owner(config, path);
  owner[path.back() + "_x"] = owner[path.back()];
  owner.erase(path.back());
  return config;
}

// Whose keys a file has.
std::string Family(const Case& which, const json& config) {
  if (which.file.ends_with("adapter_config.json")) return "lora";
  if (which.file.ends_with("mole.json")) return "llava_mole";
  if (which.of_processor()) {
    const std::string type = config.value("image_processor_type", "CLIP");
    return type.starts_with("CLIP") ? "clip" : type.starts_with("Siglip") ? "siglip" : "qwen2_vl";
  }
  return config["model_type"];
}

// The values that the versions of the library mean where the key is missing.
std::vector<json> LibraryValues(const Case& which, const json& config, const Path& path) {
  static const json defaults =
      ReadJsonFile(testing::DataPath("golden/config_defaults.json")).value();
  std::string table = Family(which, config);
  if (which.of_processor()) table += "_processor";
  if (config.contains("text_config") && table == "llava") table = "llava_hf";
  std::vector<json> values;
  if (!defaults.contains(table)) return values;
  for (const auto& [version, keys] : defaults[table].items()) {
    if (keys.contains(Dotted(path))) values.push_back(keys[Dotted(path)]);
  }
  return values;
}

std::vector<json> OtherValues(const json& value) {
  if (value.is_boolean()) return {!value.get<bool>()};
  if (value.is_number_integer()) {
    return {value.get<int64_t>() + 1, value.get<int64_t>() * 2 + 2, value.get<int64_t>() - 1};
  }
  if (value.is_number()) return {value.get<double>() * 2 + 0.125, value.get<double>() / 2 + 0.0625};
  if (value.is_string()) return {value.get<std::string>() + "_x", "gelu", "relu", ""};
  if (value.is_object()) return {json::object()};
  if (value.is_array()) {
    json longer = value;
    longer.push_back(value.empty() ? json(1) : value.back());
    json shorter = value;
    if (!shorter.empty()) shorter.erase(shorter.size() - 1);
    return {longer, shorter};
  }
  return {1, true, "x", {{"rope_type", "linear"}, {"factor", 2.0}}};
}

// What decides results only beside another key, in golden cases where that one has the last word.
struct Decided {
  const char* key;
  const char* by;
};
constexpr Decided kDecided[] = {
    {"moe.eval_capacity_factor",
     "nothing is dropped from 2 on, where two of four experts are chosen"},
    {"moe.min_capacity", "eval_capacity_factor: nothing is dropped"},
    {"moe.num_experts", "one number is for all layers"},
    {"max_position_embeddings", "seq_length, where Qwen would stretch positions"},
    {"seq_length", "max_position_embeddings"},
    {"use_dynamic_ntk", "use_logn_attn"},
    {"use_logn_attn", "use_dynamic_ntk"},
    {"mlp_only_layers", "a layer that is named twice"},
    {"unfreeze_mm_vision_tower", "a tower without weights of its own"},
    {"mole", "the tensors, which say the same"},
    {"rope_parameters", "the defaults of its parts"},
    {"tokenizer_model_max_length", "max_position_embeddings, which bounds prompts"},
    {"mm_image_tower", "the tower's own directory"},
    {"mm_vision_tower", "the tower's own directory"},
};

bool IsDecidedElsewhere(const Path& path) {
  for (const Decided& decided : kDecided) {
    if (Dotted(path).ends_with(decided.key)) return true;
  }
  return false;
}

bool IsUnused(const Case& which, const std::string& family, const Path& path) {
  const UnusedKey* row = FindUnusedKey(which.keys(), family, Dotted(path));
  return row != nullptr && row->why != "read";
}

// Whether an object around it, as a whole, is without effect.
bool LiesInUnused(const Case& which, const std::string& family, Path path) {
  for (path.pop_back(); !path.empty(); path.pop_back()) {
    if (IsUnused(which, family, path)) return true;
  }
  return false;
}

TEST(ConfigKeysTest, EveryFileIsUnderstoodAsItIs) {
  ASSERT_GE(Cases().size(), 20u);
  for (const Case& which : Cases()) {
    SCOPED_TRACE((which.dir / which.file).string());
    const Release release(which);
    for (const std::string& warning : release.warnings()) {
      EXPECT_EQ(warning.find("is not "), std::string::npos) << warning;
    }
  }
}

TEST(ConfigKeysTest, AKeyThatIsMissingMeansWhatTheLibraryMeans) {
  for (const Case& which : Cases()) {
    SCOPED_TRACE((which.dir / which.file).string());
    Release release(which);
    for (const Path& path : Paths(release.config())) {
      const json without = Without(release.config(), path);
      const auto missing = release.Read(without);
      if (!missing.ok()) continue;
      const std::vector<json> values = LibraryValues(which, release.config(), path);
      EXPECT_TRUE(!values.empty() || *missing == release.spec()) << Dotted(path);
      for (const json& value : values) {
        const auto library = release.Read(With(without, path, value));
        EXPECT_TRUE(library.ok() && *library == *missing)
            << Dotted(path) << ": the library means " << value << ", " << library.status();
      }
    }
  }
}

TEST(ConfigKeysTest, AKeyWithAnotherValueChangesTheModelOrIsRefusedOrListed) {
  for (const Case& which : Cases()) {
    SCOPED_TRACE((which.dir / which.file).string());
    Release release(which);
    const std::string family = Family(which, release.config());
    for (const Path& path : Paths(release.config())) {
      if (IsUnused(which, family, path) || LiesInUnused(which, family, path)) continue;
      const json& value = Owner(const_cast<json&>(release.config()), path)[path.back()];
      for (const json& other : OtherValues(value)) {
        if (other == value) continue;
        const auto changed = release.Read(With(release.config(), path, other));
        EXPECT_TRUE(!changed.ok() || !(*changed == release.spec()) ||
                    release.Warned(Dotted(path)) || IsDecidedElsewhere(path))
            << Dotted(path) << ": " << value << " and " << other << " are the same model";
      }
    }
  }
}

TEST(ConfigKeysTest, AnUnusedKeyThatAsksForSomethingIsWarnedOf) {
  for (const auto table : {UnusedConfigKeys(), UnusedGenerationKeys(), ProcessorKeys()}) {
    for (const UnusedKey& row : table) {
      EXPECT_FALSE(row.why.empty()) << row.key;
      if (row.neutral.empty()) continue;
      const json neutral = json::parse(row.neutral);
      for (const json& other : {json(7.5), json("x")}) {
        for (const bool asks : {false, true}) {
          const json object = {{std::string(row.key), asks ? other : neutral}};
          std::vector<std::string> warnings;
          WarnOfUnread(JsonFields(object, "config.json"), table, row.families, warnings);
          EXPECT_EQ(warnings.size(), asks ? 1u : 0u) << row.key;
        }
      }
    }
  }
}

TEST(ConfigKeysTest, AKeyUnderAnotherNameIsRefusedOrWarnedOf) {
  for (const Case& which : Cases()) {
    SCOPED_TRACE((which.dir / which.file).string());
    Release release(which);
    for (const Path& path : Paths(release.config())) {
      if (LiesInUnused(which, Family(which, release.config()), path)) continue;
      const auto renamed = release.Read(Renamed(release.config(), path));
      EXPECT_TRUE(!renamed.ok() || release.Warned(Dotted(path) + "_x")) << Dotted(path);
    }
  }
}

TEST(ConfigKeysTest, WarningsAreFewAndOnOneLine) {
  json object;
  for (int i = 0; i < 100; ++i) object[fmt::format("unknown\n{}", i)] = std::string(5000, 'x');
  std::vector<std::string> warnings;
  WarnOfUnread(JsonFields(object, "config.json"), UnusedConfigKeys(), "qwen3_moe", warnings);
  ASSERT_EQ(warnings.size(), 21u);
  EXPECT_NE(warnings.back().find("80 more"), std::string::npos) << warnings.back();
  for (const std::string& warning : warnings) {
    EXPECT_LT(warning.size(), 500u);
    EXPECT_EQ(warning.find('\n'), std::string::npos);
  }
}

}  // namespace
}  // namespace tessera
