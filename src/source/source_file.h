// An open file of the source.
#pragma once

#include <fcntl.h>

#include <memory>

#include "source/counted_fd.h"
#include "source/dispatcher.h"
#include "source/operations.h"
#include "source/shared_fd.h"
#include "source/source.h"

namespace larder::source {

// Thread-safe.
class OpenFile final : public SourceFile {
 public:
  // Bytes one copy_range copies at most: more would hardly be done within the time-out.
  static constexpr size_t kCopyMax = 16 << 20;

  // size_bytes: of the file when it was opened.
  OpenFile(std::shared_ptr<Dispatcher> dispatcher, std::shared_ptr<const Root> root, CountedFd fd,
           uint64_t size_bytes)
      : dispatcher_(std::move(dispatcher)),
        root_(std::move(root)),
        fd_(std::make_shared<SharedFd>(std::move(fd), dispatcher_->closer())) {
    fd_->last_end_bytes = size_bytes;
  }

  Outcome<size_t> read(buffer::BufferRef into, size_t length, uint64_t offset) override;
  bool fails_by_ending() const override { return fd_->trust().was_doubtful(); }
  Outcome<void> write(buffer::BufferRef from, uint64_t offset) override;
  Outcome<void> append(buffer::BufferRef from) override;
  Outcome<void> flush() override;
  Outcome<void> sync(bool data_only) override;
  Outcome<Attributes> attributes() override;
  Outcome<Attributes> set_attributes(AttributeChange change) override;
  Outcome<void> allocate(int mode, uint64_t offset, uint64_t length) override;
  Outcome<uint64_t> seek(uint64_t offset, int whence) override;
  Outcome<size_t> copy_range(uint64_t offset, std::shared_ptr<SourceFile> to, uint64_t to_offset,
                             size_t length) override;
  void bypass_page_cache() override;
  Outcome<Opened> reopen(int flags) override;
  Outcome<std::string> get_xattr(std::string name) override;
  Outcome<void> set_xattr(std::string name, std::string value, int flags,
                          std::optional<Credentials> as) override;
  Outcome<std::vector<std::string>> list_xattr() override;
  Outcome<void> remove_xattr(std::string name) override;

 private:
  const std::shared_ptr<Dispatcher> dispatcher_;
  const std::shared_ptr<const Root> root_;
  const std::shared_ptr<SharedFd> fd_;
};

// Opens a file by `work`, a Result<OpenedFd>(), on a worker thread.
template <class Work>
Outcome<Opened> open_by(std::shared_ptr<Dispatcher> dispatcher, std::shared_ptr<const Root> root,
                        CallKind kind, int flags, Work work) {
  using Use = DescriptorLimit::Use;
  struct Counted {
    DescriptorLimit::Slot slot;  // given back after the descriptor is closed
    operations::OpenedFd opened;
  };
  Result<DescriptorLimit::Slot> slot;
  if (DescriptorLimit* limit = dispatcher->descriptors())
    slot = limit->take((flags & O_ACCMODE) == O_RDONLY ? Use::kReopenable : Use::kHeld);
  if (!slot) co_return fail(slot.error());
  // Owned by the call: one that hangs still has its descriptor.
  auto counted = [slot = std::move(*slot), work = std::move(work)]() mutable -> Result<Counted> {
    TRY_ASSIGN(operations::OpenedFd opened, work());
    return Counted{std::move(slot), std::move(opened)};
  };
  Outcome<Counted> opening = Dispatcher::call<Counted>(dispatcher, kind, std::move(counted));
  CO_TRY_ASSIGN(Counted got, co_await std::move(opening));
  CountedFd fd{std::move(got.slot), std::move(got.opened.fd)};
  auto file =
      std::make_shared<OpenFile>(dispatcher, root, std::move(fd), got.opened.attributes.size_bytes);
  co_return Opened{std::move(file), got.opened.attributes};
}

}  // namespace larder::source
