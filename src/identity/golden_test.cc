// The table in docs/identity.md against this code, and against the independent generator.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "identity/namespace_bytes.h"
#include "reprise/keys.h"
#include "reprise/namespace.h"

namespace reprise {
namespace {

const std::string kRoot = REPRISE_SOURCE_DIR;

/// The lines of the ```<kind> block of the page.
std::vector<std::string> block_of_page(const std::string& kind) {
  std::ifstream page(kRoot + "/docs/identity.md");
  std::vector<std::string> lines;
  std::string line;
  while (std::getline(page, line) && line != "```" + kind) continue;
  while (std::getline(page, line) && line != "```") lines.push_back(line);
  return lines;
}

std::vector<std::string> words(const std::string& line) {
  std::istringstream in(line);
  std::vector<std::string> out;
  for (std::string word; in >> word;) out.push_back(word);
  return out;
}

std::string unhex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out += static_cast<char>(std::strtoul(hex.substr(i, 2).c_str(), nullptr, 16));
  }
  return out;
}

std::map<std::string, NamespaceSpec> specs() {
  return {
      {"minimal", {"m", "none", "f16", "canonical", 16, 4096, IndexRange{0, 1}, IndexRange{0, 1}, "", {}}},
      {"full",
       {"meta-llama/Llama-3.1-8B",
        "0e9e39f249a16976918f6564b8830bc894c89659",
        "bfloat16",
        "vllm-flash",
        16,
        2097152,
        IndexRange{0, 32},
        IndexRange{0, 8},
        "tenant-\xC3\xA9",
        {{"rope", "llama3:8"}, {"engine", "vllm"}, {"lora", ""}}}},
      {"big",
       {"x",
        "none",
        "float8_e4m3",
        "opaque",
        256,
        1U << 30,
        IndexRange{61, 1},
        IndexRange{4294967294, 1},
        "s",
        {{"\xC3\xA9", "1"}, {"z", "2"}}}},
  };
}

void check_namespace(const std::vector<std::string>& line) {
  const auto made = Namespace::create(specs().at(line.at(1)));
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->id().hex(), line.at(2)) << line.at(1);
}

void check_chain(const std::vector<std::string>& line) {
  const std::map<std::string, KeyScheme> schemes = {{"sha256", KeyScheme::kSha256},
                                                    {"xxh3", KeyScheme::kXxh3},
                                                    {"farm_rolling", KeyScheme::kFarmRolling},
                                                    {"farm_simple", KeyScheme::kFarmSimple}};
  const KeyScheme scheme = schemes.at(line.at(1));
  const auto block_tokens = static_cast<std::uint32_t>(std::stoul(line.at(2)));
  const std::size_t colon = line.at(3).find(':');
  std::vector<std::uint32_t> tokens(std::stoul(line.at(3).substr(colon + 1)));
  std::iota(tokens.begin(), tokens.end(), static_cast<std::uint32_t>(std::stoul(line.at(3))));
  const auto keys = block_keys(tokens, block_tokens, scheme);
  ASSERT_TRUE(keys);
  std::vector<std::string> hex;
  for (const BlockKey& key : *keys) hex.push_back(key.hex());
  EXPECT_EQ(hex, std::vector<std::string>(line.begin() + 4, line.end()));
}

void check_hash(const std::vector<std::string>& line) {
  const std::string hash = unhex(line.at(2));
  const auto key = key_from_hash(line.at(1), std::as_bytes(std::span(hash)), true);
  ASSERT_TRUE(key);
  EXPECT_EQ(key->hex(), line.at(3)) << line.at(1);
}

TEST(Golden, ThePagesTableIsWhatThisCodeComputes) {
  int namespaces = 0;
  int chains = 0;
  int hashes = 0;
  for (const std::string& text : block_of_page("golden")) {
    SCOPED_TRACE(text);
    const std::vector<std::string> line = words(text);
    if (line.at(0) == "namespace") {
      check_namespace(line);
      ++namespaces;
    } else if (line.at(0) == "chain") {
      check_chain(line);
      ++chains;
    } else {
      ASSERT_EQ(line.at(0), "hash");
      check_hash(line);
      ++hashes;
    }
  }
  EXPECT_EQ(namespaces, 3);
  EXPECT_EQ(chains, 28);
  EXPECT_EQ(hashes, 5);
}

TEST(Golden, ThePagesBytesAreWhatIsDigested) {
  std::string page;
  for (const std::string& line : block_of_page("bytes")) page += line.substr(0, 37);
  std::erase(page, ' ');
  EXPECT_EQ(unhex(page), namespace_bytes(specs().at("minimal")));
}

TEST(Golden, ThePagesTableIsWhatTheIndependentGeneratorComputes) {
  if (std::system("python3 -c 'import ctypes; ctypes.CDLL(\"libxxhash.so.0\")' 2>/dev/null") != 0) {
    GTEST_SKIP() << "needs python3 and libxxhash.so.0";
  }
  EXPECT_EQ(std::system(("python3 '" + kRoot + "/scripts/golden_identity.py' --check").c_str()), 0);
}

}  // namespace
}  // namespace reprise
