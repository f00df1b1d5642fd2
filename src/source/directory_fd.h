// The directories of a source that is a mounted file system: the root, which is opened again when
// it is lost, and those opened beneath it.  Thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "source/place.h"
#include "source/root.h"
#include "source/shared_fd.h"

namespace larder::source {

class DirectoryFd final : public Directory {
 public:
  // The root itself, whichever descriptor it has at the time.
  explicit DirectoryFd(std::shared_ptr<const Root> root) : root_(std::move(root)) {}
  // One beneath the root as it was when `attachment` was taken.
  DirectoryFd(std::shared_ptr<const Root> root, Root::AttachmentPtr attachment, uint64_t number,
              CountedFd fd, std::shared_ptr<Closer> closer)
      : root_(std::move(root)),
        attachment_(std::move(attachment)),
        number_(number),
        fd_(std::in_place, std::move(fd), std::move(closer)) {}

  uint64_t number() const override { return number_; }
  bool is_current() const override { return !fd_ || root_->attachment() == attachment_; }

  // The root as it is attached now, and this directory's descriptor, good as long as both are held.
  // kSourceDown when the directory is not current.
  struct Held {
    Root::AttachmentPtr attachment;
    int fd = -1;
  };
  Result<Held> hold() const {
    Root::AttachmentPtr attachment = root_->attachment();
    if (!attachment) return fail(Code::kSourceDown);
    if (!fd_) {
      const int fd = Root::descriptor(*attachment);
      return Held{std::move(attachment), fd};
    }
    if (attachment != attachment_)
      return fail(Code::kSourceDown, "opened before the root was lost");
    return Held{std::move(attachment), fd_->get()};
  }

 private:
  const std::shared_ptr<const Root> root_;
  const Root::AttachmentPtr attachment_;
  const uint64_t number_ = 0;
  const std::optional<SharedFd> fd_;
};

}  // namespace larder::source
