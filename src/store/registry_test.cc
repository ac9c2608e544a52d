#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reprise/store.h"
#include "store/mock/mock_store.h"

namespace reprise {
namespace {

TEST(StoreRegistry, MakesByScheme) {
  const StoreRegistry registry = StoreRegistry::with_builtins();
  EXPECT_THAT(registry.schemes(), ::testing::ElementsAre("disk", "fs", "mock", "rocksdb"));
  const auto store = registry.make("mock:?capacity=1MiB");
  ASSERT_TRUE(store);
  EXPECT_EQ((*store)->info().name, "mock");
}

TEST(StoreRegistry, UnknownSchemeListsTheOthers) {
  const StoreRegistry registry = StoreRegistry::with_builtins();
  for (const char* url : {"tape:/x", "mock", "", ":"}) {
    const auto store = registry.make(url);
    ASSERT_FALSE(store) << url;
    EXPECT_EQ(store.error().code, ErrorCode::kConfig);
    EXPECT_NE(store.error().message.find("mock:"), std::string::npos);
  }
}

TEST(StoreRegistry, TakesMoreButNoneTwice) {
  StoreRegistry registry = StoreRegistry::with_builtins();
  EXPECT_TRUE(registry.add("tape", MockStore::open));
  EXPECT_TRUE(registry.make("tape:"));
  EXPECT_EQ(registry.add("tape", MockStore::open).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(registry.add("mock", MockStore::open).error().code, ErrorCode::kInvalid);
}

TEST(StoreRegistry, WrongOptionsAreNamed) {
  const StoreRegistry registry = StoreRegistry::with_builtins();
  EXPECT_NE(registry.make("mock:?capacity=lots").error().message.find("capacity=lots"), std::string::npos);
  EXPECT_NE(registry.make("fs:/x?trust=on").error().message.find("trust"), std::string::npos);
  EXPECT_NE(registry.make("rocksdb:/x?max-wal=1").error().message.find("max-wal=1B"), std::string::npos);
  EXPECT_NE(registry.make("mock:?color=red").error().message.find("color"), std::string::npos);
}

}  // namespace
}  // namespace reprise
