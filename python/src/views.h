// Memoryviews of memory that is not Python's, and who counts them.
//
// A memoryview leans on a BlockView, an object with the buffer protocol, which tells its owner. Needs the GIL.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <memory>
#include <utility>

namespace reprise::python {

/// What views hang on to.
class Viewed {
 public:
  virtual ~Viewed() = default;
  /// False when the memory may no longer be looked at.
  [[nodiscard]] virtual bool viewable() const = 0;
  virtual void view_opened() = 0;
  virtual void view_closed() = 0;
};

/// Memory that its views keep mapped, and that nothing ends before.
class MappedMemory final : public Viewed {
 public:
  explicit MappedMemory(std::shared_ptr<const void> keeper) : keeper_(std::move(keeper)) {}
  ~MappedMemory() override;
  [[nodiscard]] bool viewable() const override { return true; }
  void view_opened() override {}
  void view_closed() override {}

 private:
  std::shared_ptr<const void> keeper_;
};

[[nodiscard]] nanobind::object memoryview_of(std::shared_ptr<Viewed> owner, std::byte* data, std::size_t size,
                                             bool readonly);

void bind_views(nanobind::module_& m);

}  // namespace reprise::python
