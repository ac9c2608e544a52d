#include "base/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <fstream>
#include <set>

namespace reprise {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TomlFile {
 public:
  explicit TomlFile(const std::string& text) : path_(::testing::TempDir() + "/options_test_XXXXXX") {
    const int fd = mkstemp(path_.data());
    EXPECT_GE(fd, 0);
    std::ofstream(path_) << text;
    close(fd);
  }
  ~TomlFile() { unlink(path_.c_str()); }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

const ResolvedOption& find(const ResolvedOptions& all, std::string_view name) {
  for (const ResolvedOption& option : all.options) {
    if (option.spec->name == name) return option;
  }
  ADD_FAILURE() << "no option " << name;
  return all.options.front();
}

TEST(OptionTable, NamesAreUniqueInEveryForm) {
  std::set<std::string> names;
  for (const OptionSpec& spec : option_table()) {
    EXPECT_TRUE(names.insert(spec.flag()).second) << spec.flag();
    EXPECT_TRUE(names.insert(spec.environment()).second) << spec.environment();
    EXPECT_TRUE(spec.alias.empty() || names.insert(std::string(spec.alias)).second) << spec.alias;
    EXPECT_FALSE(spec.help.empty()) << spec.name;
  }
  const OptionSpec* spec = find_option("l2.queue-bytes");
  ASSERT_NE(spec, nullptr);
  EXPECT_EQ(spec->flag(), "--l2-queue-bytes");
  EXPECT_EQ(spec->environment(), "REPRISE_L2_QUEUE_BYTES");
}

// A field forgotten in the table could not be configured. Guards against adding one without an option.
TEST(OptionTable, CoversEveryField) {
  EXPECT_EQ(std::count_if(option_table().begin(), option_table().end(), [](const auto& s) { return !s.of_server(); }),
            21);
  EXPECT_EQ(sizeof(CacheOptions), 296U) << "CacheOptions changed: add the new field to the option table";
  EXPECT_EQ(std::count_if(option_table().begin(), option_table().end(), [](const auto& s) { return s.of_server(); }),
            17);
  EXPECT_EQ(sizeof(ServerOptions), 392U) << "ServerOptions changed: add the new field to the option table";
}

// Two entries that name one field would leave another without an option.
TEST(OptionTable, EachOptionSetsAFieldOfItsOwn) {
  const auto another = [](const OptionSpec& spec) -> std::string {
    switch (spec.type) {
      case OptionType::kSize: return "5MiB";
      case OptionType::kInteger: return "7";
      case OptionType::kDuration: return "77ms";
      case OptionType::kBool: return "false";
      case OptionType::kText: return "x";
      case OptionType::kChoice: return std::string(spec.choices.substr(spec.choices.rfind('|') + 1));
      case OptionType::kList:
        return spec.choices.empty() ? "7" : std::string(spec.choices.substr(0, spec.choices.find('|')));
    }
    return "";
  };
  for (const OptionSpec& set : option_table()) {
    Options options;
    ASSERT_TRUE(set_option(set, another(set), "test", options)) << set.name;
    for (const OptionSpec& seen : option_table()) {
      EXPECT_EQ(option_text(seen, options) != option_text(seen, Options{}), &seen == &set)
          << set.name << ", " << seen.name;
    }
  }
}

TEST(OptionTable, EveryDefaultIsReadBackAndInRange) {
  for (const OptionSpec& spec : option_table()) {
    Options options;
    const std::string text = option_text(spec, options);
    ASSERT_TRUE(set_option(spec, text, "test", options)) << spec.name << " = " << text;
    EXPECT_EQ(option_text(spec, options), text) << spec.name;
  }
}

TEST(OptionTable, NamesTheFieldsTheyAreCalledAfter) {
  Options options;
  ASSERT_TRUE(set_option(*find_option("attach.tls-ca"), "ca.pem", "test", options));
  ASSERT_TRUE(set_option(*find_option("tls.client-ca"), "clients.pem", "test", options));
  ASSERT_TRUE(set_option(*find_option("server.drain-timeout"), "0", "test", options));
  EXPECT_EQ(options.cache.attach_tls_ca, "ca.pem");
  EXPECT_EQ(options.server.tls_client_ca, "clients.pem");
  EXPECT_EQ(options.server.drain_timeout.count(), 0);
}

TEST(SetOption, NamesTheOptionAndTheLimit) {
  Options options;
  const auto refuse = [&](std::string_view name, std::string_view text) {
    const auto set = set_option(*find_option(name), text, find_option(name)->flag(), options);
    EXPECT_FALSE(set.has_value()) << name << " = " << text;
    return set ? std::string() : set.error().message;
  };
  EXPECT_THAT(refuse("l2.threads", "0"), AllOf(HasSubstr("--l2-threads"), HasSubstr("'0'"), HasSubstr("1 to 256")));
  EXPECT_THAT(refuse("l2.threads", "two"), HasSubstr("whole number"));
  EXPECT_THAT(refuse("l2.threads", "-1"), HasSubstr("whole number"));
  EXPECT_THAT(refuse("l1.capacity", "4G"), AllOf(HasSubstr("--l1-capacity"), HasSubstr("4G")));
  EXPECT_THAT(refuse("l1.capacity", "65TiB"), HasSubstr("64TiB"));
  EXPECT_THAT(refuse("lease.ttl", "5"), HasSubstr("duration"));
  EXPECT_THAT(refuse("l2.ingest", "SOME"), HasSubstr("ALL, HOT or EVICTED"));
  EXPECT_THAT(refuse("l1.populate", "maybe"), HasSubstr("true nor false"));
  EXPECT_THAT(refuse("allow.uids", "1000,root"), AllOf(HasSubstr("--allow-uids"), HasSubstr("'root'")));
  EXPECT_THAT(refuse("allow.gids", "4294967295"), HasSubstr("numbers from 0 to 4294967294"));
  EXPECT_THAT(refuse("listen.insecure", "tcp,all"), AllOf(HasSubstr("'all'"), HasSubstr("any of tcp, admin")));
  EXPECT_EQ(options.server.allow_uids, "");
}

TEST(ResolveOptions, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const TomlFile file("[l1]\ncapacity = \"1MiB\"\npolicy = \"lru\"\n[l2]\nthreads = 3\ningest = \"hot\"\n");
  OptionInputs inputs;
  inputs.toml_path = file.path();
  inputs.environment = {"PATH=/bin", "REPRISE_L1_CAPACITY=2MiB", "REPRISE_L1_POLICY=fifo"};
  inputs.flags = {{"l1.capacity", "3MiB"}};
  const auto all = resolve_options(inputs);
  ASSERT_TRUE(all.has_value()) << all.error().message;
  EXPECT_EQ(all->cache.l1_capacity, 3U << 20);
  EXPECT_EQ(find(*all, "l1.capacity").where, "--l1-capacity");
  EXPECT_EQ(all->cache.l1_policy, "fifo");
  EXPECT_EQ(find(*all, "l1.policy").where, "REPRISE_L1_POLICY");
  EXPECT_EQ(all->cache.l2_threads, 3U);
  EXPECT_EQ(find(*all, "l2.threads").where, file.path() + ":5");
  EXPECT_EQ(all->cache.l2_ingest, Ingest::kHot);
  EXPECT_EQ(find(*all, "l2.timeout").source, OptionSource::kDefault);
  EXPECT_THAT(all->warnings, ElementsAre());
}

TEST(ResolveOptions, ListsAddUpWithinOneSourceAndReplaceAWeakerOne) {
  const TomlFile file("allow.uids = [1, 2]\nallow.gids = \"3, 4\"\nlisten.insecure = [\"TCP\"]\n");
  OptionInputs inputs;
  inputs.toml_path = file.path();
  inputs.flags = {{"allow.uids", "5,6"}, {"l1.capacity", "1MiB"}, {"allow.uids", "7"}};
  const auto all = resolve_options(inputs);
  ASSERT_TRUE(all.has_value()) << all.error().message;
  EXPECT_EQ(all->server.allow_uids, "5,6,7");
  EXPECT_EQ(all->server.allow_gids, "3,4");
  EXPECT_EQ(all->server.listen_insecure, "tcp");
}

// An empty text is a value: it takes a weaker one away.
TEST(ResolveOptions, AnEmptyTextOverrides) {
  OptionInputs inputs;
  inputs.environment = {"REPRISE_L2_URL=disk:/data"};
  inputs.flags = {{"l2.url", ""}};
  EXPECT_EQ(resolve_options(inputs)->cache.l2_url, "");
}

TEST(ResolveOptions, ReportsUnknownNamesWithTheNearestOne) {
  const TomlFile file("[l1]\ncapcity = 5\n");
  OptionInputs inputs;
  inputs.environment = {"REPRISE_L1_POLICI=lru", "REPRISE_LOG=debug", "REPRISE_CACHE=tcp://a:1",
                        "REPRISE_CONFIG=" + file.path()};
  const auto all = resolve_options(inputs);
  ASSERT_TRUE(all.has_value()) << all.error().message;
  EXPECT_THAT(all->warnings, ElementsAre(AllOf(HasSubstr(file.path() + ":2"), HasSubstr("'l1.capacity'")),
                                         HasSubstr("'REPRISE_L1_POLICY'")));
  EXPECT_EQ(all->cache.l1_policy, "adaptive");
}

TEST(ResolveOptions, RefusesWhatItCannotRead) {
  OptionInputs inputs;
  inputs.toml_path = "/nonexistent/reprise.toml";
  EXPECT_THAT(resolve_options(inputs).error().message, HasSubstr("/nonexistent/reprise.toml"));
  const TomlFile broken("[l1\ncapacity = 5\n");
  inputs.toml_path = broken.path();
  EXPECT_THAT(resolve_options(inputs).error().message, HasSubstr(broken.path() + ":1"));
  const TomlFile list("l1.capacity = [1, 2]\n");
  inputs.toml_path = list.path();
  EXPECT_THAT(resolve_options(inputs).error().message, HasSubstr("not a list"));
  const TomlFile nested("allow.uids = [[1]]\n");
  inputs.toml_path = nested.path();
  EXPECT_THAT(resolve_options(inputs).error().message, HasSubstr("'allow.uids' must be"));
  inputs.toml_path = list.path();
  EXPECT_THAT(resolve_options(inputs).error().message, HasSubstr("'l1.capacity'"));
  inputs.toml_path = "";
  // Overridden, but still wrong.
  inputs.environment = {"REPRISE_L2_THREADS=0"};
  inputs.flags = {{"l2.threads", "4"}};
  EXPECT_THAT(resolve_options(inputs).error().message, HasSubstr("REPRISE_L2_THREADS"));
}

TEST(OptionsMarkdown, IsWhatTheDocumentationSays) {
  std::ifstream file(REPRISE_SOURCE_DIR "/docs/configuration.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(text, options_markdown()) << "run: reprise options --markdown > docs/configuration.md";
}

}  // namespace
}  // namespace reprise
