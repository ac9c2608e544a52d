// What every Env must do. Include in one test file and instantiate with the forms to be checked:
//
//   INSTANTIATE_TEST_SUITE_P(Real, EnvContract, ::testing::Values(EnvForm{"plain", ...}), env_form_name);
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/env.h"
#include "testing/temp_dir.h"

namespace reprise::testing {

struct EnvForm {
  std::string name;
  Direct direct = Direct::kOff;
  /// Called once per test; shared so that a form may keep what it wraps alive.
  std::function<std::shared_ptr<Env>()> make;
};
inline std::string env_form_name(const ::testing::TestParamInfo<EnvForm>& info) {
  return info.param.name;
}
inline void PrintTo(const EnvForm& form, std::ostream* out) {
  *out << form.name;
}

class EnvContract : public ::testing::TestWithParam<EnvForm> {
 protected:
  void SetUp() override {
    env_ = GetParam().make();
    ASSERT_NE(env_, nullptr);
    dir_ = temp_.path() + "/a/b";
    ASSERT_TRUE(env_->make_directory(dir_));
  }
  [[nodiscard]] std::string path(const std::string& name) const { return dir_ + "/" + name; }
  std::unique_ptr<File> create(const std::string& name) {
    auto file = env_->open(path(name), OpenMode::kCreate, GetParam().direct);
    EXPECT_TRUE(file) << file.error().message;
    return file ? std::move(*file) : nullptr;
  }
  static AlignedBuffer pages(std::size_t n, int value) {
    AlignedBuffer buffer(n * kPageBytes);
    for (std::size_t i = 0; i < buffer.size(); ++i) {
      buffer.data()[i] = static_cast<std::byte>((i / kPageBytes * 31 + i + static_cast<std::size_t>(value)) & 0xff);
    }
    return buffer;
  }
  IoStatus write(const File& file, std::uint64_t offset, const std::vector<Bytes>& pieces) {
    IoStatus result = IoStatus::kFailed;
    const WriteRequest request{&file, offset, pieces};
    env_->write(std::span(&request, 1), [&](std::size_t, IoStatus status) { result = status; }, Deadline::never());
    return result;
  }
  IoStatus read(const File& file, std::uint64_t offset, const std::vector<MutableBytes>& pieces) {
    IoStatus result = IoStatus::kFailed;
    const ReadRequest request{&file, offset, pieces};
    env_->read(std::span(&request, 1), [&](std::size_t, IoStatus status) { result = status; }, Deadline::never());
    return result;
  }

  TempDir temp_;
  std::shared_ptr<Env> env_;
  std::string dir_;
};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EnvContract);

TEST_P(EnvContract, GathersAndScatters) {
  const auto file = create("f");
  const AlignedBuffer one = pages(1, 1);
  const AlignedBuffer two = pages(3, 2);
  ASSERT_EQ(write(*file, kPageBytes, {one.span(), two.span()}), IoStatus::kOk);
  EXPECT_EQ(*file->size(), 5 * kPageBytes);
  const AlignedBuffer a(2 * kPageBytes);
  const AlignedBuffer b(2 * kPageBytes);
  ASSERT_EQ(read(*file, kPageBytes, {a.span(), b.span()}), IoStatus::kOk);
  EXPECT_TRUE(std::ranges::equal(a.span().first(kPageBytes), one.span()));
  EXPECT_TRUE(std::ranges::equal(a.span().last(kPageBytes), two.span().first(kPageBytes)));
  EXPECT_TRUE(std::ranges::equal(b.span(), two.span().last(2 * kPageBytes)));
}

TEST_P(EnvContract, ReadBehindTheEndIsShort) {
  const auto file = create("f");
  const AlignedBuffer one = pages(1, 1);
  ASSERT_EQ(write(*file, 0, {one.span()}), IoStatus::kOk);
  const AlignedBuffer two(2 * kPageBytes);
  EXPECT_EQ(read(*file, 0, {two.span()}), IoStatus::kShort);
  EXPECT_EQ(read(*file, 8 * kPageBytes, {two.span()}), IoStatus::kShort);
}

TEST_P(EnvContract, ManyRequestsOverManyFilesEachReportedOnce) {
  constexpr std::size_t kFiles = 3;
  constexpr std::size_t kRequests = 200;  // more than fit in flight
  std::vector<std::unique_ptr<File>> files;
  for (std::size_t i = 0; i < kFiles; ++i) files.push_back(create("f" + std::to_string(i)));
  std::vector<AlignedBuffer> out;
  std::vector<AlignedBuffer> in;
  std::vector<Bytes> out_pieces(kRequests);
  std::vector<MutableBytes> in_pieces(kRequests);
  std::vector<WriteRequest> writes;
  std::vector<ReadRequest> reads;
  for (std::size_t i = 0; i < kRequests; ++i) {
    out.push_back(pages(1, static_cast<int>(i)));
    in.emplace_back(kPageBytes);
    out_pieces[i] = out.back().span();
    in_pieces[i] = in.back().span();
    writes.push_back({files[i % kFiles].get(), i / kFiles * kPageBytes, std::span(&out_pieces[i], 1)});
    reads.push_back({files[i % kFiles].get(), i / kFiles * kPageBytes, std::span(&in_pieces[i], 1)});
  }
  std::vector<int> seen(kRequests);
  const auto caller = std::this_thread::get_id();
  const auto done = [&](std::size_t i, IoStatus status) {
    ++seen[i];
    EXPECT_EQ(status, IoStatus::kOk);
    EXPECT_EQ(std::this_thread::get_id(), caller);
  };
  env_->write(writes, done, Deadline::never());
  EXPECT_THAT(seen, ::testing::Each(1));
  env_->read(reads, done, Deadline::after(std::chrono::minutes(5)));
  EXPECT_THAT(seen, ::testing::Each(2));
  for (std::size_t i = 0; i < kRequests; ++i) ASSERT_TRUE(std::ranges::equal(in[i].span(), out[i].span())) << i;
}

TEST_P(EnvContract, NothingIsBegunAfterTheDeadline) {
  const auto file = create("f");
  const AlignedBuffer one = pages(1, 1);
  ASSERT_EQ(write(*file, 0, {one.span()}), IoStatus::kOk);
  const AlignedBuffer two = pages(1, 2);
  std::vector<Bytes> out{two.span()};
  const WriteRequest late{file.get(), 0, out};
  std::vector<IoStatus> seen;
  env_->write(std::span(&late, 1), [&](std::size_t, IoStatus s) { seen.push_back(s); }, Deadline::now());
  EXPECT_THAT(seen, ::testing::ElementsAre(IoStatus::kTimeout));
  const AlignedBuffer back(kPageBytes);
  ASSERT_EQ(read(*file, 0, {back.span()}), IoStatus::kOk);
  EXPECT_TRUE(std::ranges::equal(back.span(), one.span()));
}

TEST_P(EnvContract, SizesAndSync) {
  const auto file = create("f");
  ASSERT_TRUE(file->allocate(8 * kPageBytes));
  EXPECT_GE(*file->size(), 8 * kPageBytes);
  const AlignedBuffer zero(kPageBytes);
  std::ranges::fill(zero.span(), std::byte{1});
  ASSERT_EQ(read(*file, 4 * kPageBytes, {zero.span()}), IoStatus::kOk);
  EXPECT_EQ(std::ranges::count(zero.span(), std::byte{0}), static_cast<long>(kPageBytes));
  ASSERT_TRUE(file->truncate(2 * kPageBytes));
  EXPECT_EQ(*file->size(), 2 * kPageBytes);
  EXPECT_TRUE(file->sync());
}

TEST_P(EnvContract, OpenModes) {
  EXPECT_EQ(env_->open(path("x"), OpenMode::kRead, GetParam().direct).error().status, IoStatus::kNotFound);
  EXPECT_EQ(env_->open(path("x"), OpenMode::kWrite, GetParam().direct).error().status, IoStatus::kNotFound);
  EXPECT_EQ(env_->open(dir_ + "/no/x", OpenMode::kCreate, GetParam().direct).error().status, IoStatus::kNotFound);
  const AlignedBuffer one = pages(1, 1);
  ASSERT_EQ(write(*create("x"), 0, {one.span()}), IoStatus::kOk);
  const auto again = env_->open(path("x"), OpenMode::kWrite, GetParam().direct);
  ASSERT_TRUE(again);
  EXPECT_EQ(*(*again)->size(), kPageBytes);
  EXPECT_EQ(*create("x")->size(), 0u) << "kCreate empties";
}

TEST_P(EnvContract, ListsAndRemoves) {
  EXPECT_TRUE(env_->list(dir_)->empty());
  const auto file = create("one");
  create("two");
  const AlignedBuffer page = pages(1, 1);
  ASSERT_EQ(write(*file, 0, {page.span()}), IoStatus::kOk);
  EXPECT_THAT(*env_->list(dir_), ::testing::UnorderedElementsAre("one", "two"));
  ASSERT_TRUE(env_->remove(path("one")));
  EXPECT_THAT(*env_->list(dir_), ::testing::ElementsAre("two"));
  EXPECT_EQ(env_->remove(path("one")).error().status, IoStatus::kNotFound);
  EXPECT_EQ(env_->list(dir_ + "/no").error().status, IoStatus::kNotFound);
  const AlignedBuffer back(kPageBytes);
  EXPECT_EQ(read(*file, 0, {back.span()}), IoStatus::kOk) << "an open file outlives its name";
}

TEST_P(EnvContract, ListsDirectories) {
  ASSERT_TRUE(env_->make_directory(dir_ + "/c/d"));
  ASSERT_TRUE(env_->make_directory(dir_ + "/e"));
  create("f");
  EXPECT_THAT(*env_->list_directories(dir_), ::testing::UnorderedElementsAre("c", "e"));
  EXPECT_THAT(*env_->list_directories(dir_ + "/c"), ::testing::ElementsAre("d"));
  EXPECT_THAT(*env_->list(dir_), ::testing::ElementsAre("f"));
  EXPECT_EQ(env_->list_directories(dir_ + "/no").error().status, IoStatus::kNotFound);
}

TEST_P(EnvContract, RenamesOverWhatIsThere) {
  const AlignedBuffer one = pages(1, 1);
  const AlignedBuffer two = pages(2, 2);
  const auto old = create("to");
  ASSERT_EQ(write(*old, 0, {one.span()}), IoStatus::kOk);
  ASSERT_EQ(write(*create("from"), 0, {two.span()}), IoStatus::kOk);
  ASSERT_TRUE(env_->rename(path("from"), path("to")));
  EXPECT_THAT(*env_->list(dir_), ::testing::ElementsAre("to"));
  EXPECT_EQ(env_->info(path("to"))->bytes, 2 * kPageBytes);
  const AlignedBuffer back(kPageBytes);
  ASSERT_EQ(read(*old, 0, {back.span()}), IoStatus::kOk) << "who has the old one open keeps it";
  EXPECT_TRUE(std::ranges::equal(back.span(), one.span()));
  EXPECT_EQ(env_->rename(path("from"), path("to")).error().status, IoStatus::kNotFound);
  EXPECT_EQ(env_->rename(path("to"), dir_ + "/no/to").error().status, IoStatus::kNotFound);
  EXPECT_EQ(env_->info(path("to"))->bytes, 2 * kPageBytes);
}

TEST_P(EnvContract, KnowsFilesByName) {
  EXPECT_EQ(env_->info(path("x")).error().status, IoStatus::kNotFound);
  EXPECT_EQ(env_->info(dir_).error().status, IoStatus::kNotFound) << "a directory is no file";
  const auto file = create("x");
  const AlignedBuffer page = pages(1, 1);
  ASSERT_EQ(write(*file, 0, {page.span()}), IoStatus::kOk);
  const auto before = env_->info(path("x"));
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_EQ(before->bytes, kPageBytes);
  ASSERT_TRUE(file->mark_used());
  const auto after = env_->info(path("x"));
  EXPECT_GE(after->used, before->used);
  EXPECT_EQ(after->written, before->written);
}

TEST_P(EnvContract, OneHolderOfALock) {
  auto first = env_->lock(path("LOCK"));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(env_->lock(path("LOCK")).error().status, IoStatus::kBusy);
  first->reset();
  EXPECT_TRUE(env_->lock(path("LOCK")));
}

TEST_P(EnvContract, KnowsFreeSpace) {
  EXPECT_GT(*env_->free_space(dir_), 0u);
}

TEST_P(EnvContract, ThreadsShareIt) {
  const auto file = create("f");
  ASSERT_TRUE(file->allocate(64 * kPageBytes));
  std::vector<std::thread> threads;
  std::vector<int> good(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int round = 0; round < 20; ++round) {
        const AlignedBuffer mine = pages(4, t * 100 + round);
        const AlignedBuffer back(4 * kPageBytes);
        const std::uint64_t at = static_cast<std::uint64_t>(t) * 16 * kPageBytes;
        good[t] += write(*file, at, {mine.span()}) == IoStatus::kOk &&
                   read(*file, at, {back.span()}) == IoStatus::kOk && std::ranges::equal(mine.span(), back.span());
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_THAT(good, ::testing::Each(20));
}

}  // namespace reprise::testing
