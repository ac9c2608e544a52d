#include "base/env.h"

#include <gtest/gtest.h>

#include "testing/env_contract.h"
#include "testing/fault_env.h"
#include "testing/memory_env.h"

namespace reprise::testing {
namespace {

std::shared_ptr<Env> real(IoForm form) {
  auto env = make_env(form);
  return env ? std::shared_ptr<Env>(std::move(*env)) : nullptr;
}

// The wrapped form lives as long as the wrapper.
struct Wrapped {
  MemoryEnv inner;
  FaultEnv outer{inner};
};
std::shared_ptr<Env> wrapped() {
  auto both = std::make_shared<Wrapped>();
  return {both, &both->outer};
}

std::vector<EnvForm> forms() {
  std::vector<EnvForm> all{
      {"Plain", Direct::kOff, [] { return real(IoForm::kPlain); }},
      {"PlainDirect", Direct::kAuto, [] { return real(IoForm::kPlain); }},
      {"Memory", Direct::kOff, [] { return std::make_shared<MemoryEnv>(); }},
      {"FaultFree", Direct::kOff, wrapped},
  };
  if (make_env(IoForm::kUring)) {  // not permitted in many containers
    all.push_back({"Uring", Direct::kOff, [] { return real(IoForm::kUring); }});
    all.push_back({"UringDirect", Direct::kAuto, [] { return real(IoForm::kUring); }});
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(All, EnvContract, ::testing::ValuesIn(forms()), env_form_name);

TEST(MemoryEnv, LosesOnlyWhatWasNotSynced) {
  MemoryEnv env;
  ASSERT_TRUE(env.make_directory("/d"));
  const auto file = *env.open("/d/f", OpenMode::kCreate, Direct::kOff);
  const std::vector<std::byte> synced(64 * 4096, std::byte{1});
  const std::vector<std::byte> lost(64 * 4096, std::byte{2});
  const auto write = [&](const std::vector<std::byte>& bytes) {
    const Bytes piece(bytes);
    const WriteRequest request{file.get(), 0, std::span(&piece, 1)};
    env.write(std::span(&request, 1), [](std::size_t, IoStatus s) { EXPECT_EQ(s, IoStatus::kOk); }, Deadline::never());
  };
  write(synced);
  ASSERT_TRUE(file->sync());
  write(lost);
  env.lose_power(1);
  const std::vector<std::byte>& after = *env.raw("/d/f");
  ASSERT_EQ(after.size(), synced.size());
  int old_pages = 0;
  for (std::size_t at = 0; at < after.size(); at += 4096) {
    EXPECT_EQ(after[at], after[at + 4095]) << "pages are whole";
    old_pages += after[at] == std::byte{1};
  }
  EXPECT_GT(old_pages, 0);
  EXPECT_LT(old_pages, 64);
}

TEST(FaultEnv, FailsTheRequestsItWasToldTo) {
  MemoryEnv memory;
  FaultEnv env(memory);
  ASSERT_TRUE(env.make_directory("/d"));
  const auto file = *env.open("/d/f", OpenMode::kCreate, Direct::kOff);
  ASSERT_TRUE(file->allocate(4 * 4096));
  std::vector<std::byte> bytes(4096);
  const MutableBytes piece(bytes);
  const std::vector<ReadRequest> requests(4, ReadRequest{file.get(), 0, std::span(&piece, 1)});
  std::vector<IoStatus> seen(4);
  env.fail_reads(IoStatus::kFailed, 1, 2);
  env.read(requests, [&](std::size_t i, IoStatus s) { seen[i] = s; }, Deadline::never());
  EXPECT_THAT(seen, ::testing::ElementsAre(IoStatus::kOk, IoStatus::kFailed, IoStatus::kFailed, IoStatus::kOk));
  env.flip_bits(1);
  env.read(std::span(requests).first(1), [](std::size_t, IoStatus) {}, Deadline::never());
  EXPECT_EQ(std::ranges::count(bytes, std::byte{0}), 4095);
  env.space(0);
  EXPECT_EQ(env.open("/d/g", OpenMode::kCreate, Direct::kOff).error().status, IoStatus::kNoSpace);
  env.remove_directory(true);
  EXPECT_EQ(env.list("/d").error().status, IoStatus::kNotFound);
  ASSERT_TRUE(env.make_directory("/d"));
  EXPECT_TRUE(env.list("/d"));
}

}  // namespace
}  // namespace reprise::testing
