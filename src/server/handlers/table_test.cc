#include <gtest/gtest.h>

#include "server/handlers.h"

namespace reprise {
namespace {

TEST(HandlerTable, EveryMessageOfAnOpenSessionHasOne) {
  for (const wire::MessageSpec& spec : wire::message_table()) {
    const bool has_one = find_handler(spec.type) != nullptr;
    EXPECT_EQ(has_one, !spec.early && spec.type != wire::Type::kPut) << spec.name;
  }
  EXPECT_EQ(find_handler(wire::Type::kWelcome), nullptr);
  EXPECT_EQ(find_handler(wire::Type{999}), nullptr);
}

}  // namespace
}  // namespace reprise
