// The source that is a directory of a mounted file system: operations (source/operations.h) sent
// through the dispatcher (source/dispatcher.h).
#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"
#include "source/directory_fd.h"
#include "source/dispatcher.h"
#include "source/open_beneath.h"
#include "source/operations.h"
#include "source/source.h"
#include "source/source_file.h"

namespace larder::source {
namespace {

using operations::At;
using operations::Creator;
using operations::OpenedFd;

// A place during a call, which holds the place itself.
struct Located {
  Root::AttachmentPtr attachment;
  At at;
};

Result<Located> locate(const Place& place) {
  TRY(check_name(place.name));
  const auto* directory = dynamic_cast<const DirectoryFd*>(place.directory.get());
  CHECK(directory != nullptr);  // there is one kind of source under one mount
  TRY_ASSIGN(DirectoryFd::Held held, directory->hold());
  return Located{std::move(held.attachment), {held.fd, place.name, place.number}};
}

class DirectorySource final : public Source {
 public:
  DirectorySource(std::shared_ptr<Root> root, std::shared_ptr<Dispatcher> dispatcher,
                  bool act_as_caller)
      : root_(std::move(root)), dispatcher_(std::move(dispatcher)), act_as_caller_(act_as_caller) {}
  ~DirectorySource() override { dispatcher_->stop(); }
  void stop() override { dispatcher_->stop(); }

  DirectoryPtr root() const override { return root_directory_; }
  Outcome<DirectoryPtr> open_directory(Place place) override {
    struct Opened {
      CountedFd fd;
      uint64_t number = 0;
      Root::AttachmentPtr attachment;
    };
    // What comes after the answer must not need this object.
    const std::shared_ptr<Root> root = root_;
    const std::shared_ptr<Dispatcher> dispatcher = dispatcher_;
    Result<DescriptorLimit::Slot> slot;
    if (DescriptorLimit* limit = dispatcher->descriptors())
      slot = limit->take(DescriptorLimit::Use::kReopenable);
    if (!slot) co_return fail(slot.error());
    Work<Opened> work = [root, place = std::move(place),
                         slot = std::move(*slot)]() mutable -> Result<Opened> {
      TRY_ASSIGN(Located at, locate(place));
      TRY_ASSIGN(operations::OpenedDirectory opened, operations::open_directory(*root, at.at));
      return Opened{
          {std::move(slot), std::move(opened.fd)}, opened.number, std::move(at.attachment)};
    };
    Outcome<Opened> opening = call<Opened>(CallKind::kOpenDirectory, std::move(work));
    CO_TRY_ASSIGN(Opened opened, co_await std::move(opening));
    co_return std::make_shared<const DirectoryFd>(root, std::move(opened.attachment), opened.number,
                                                  std::move(opened.fd), dispatcher->closer());
  }
  Outcome<Attributes> attributes(Place place, Wait wait) override {
    return call_at<Attributes>(
        CallKind::kAttributes, std::move(place),
        [root = root_](const At& at) { return operations::attributes(*root, at); }, wait);
  }
  Outcome<std::string> read_link(Place place) override {
    return call_at<std::string>(
        CallKind::kReadLink, std::move(place),
        [root = root_](const At& at) { return operations::read_link(*root, at); });
  }
  Outcome<Listing> list(DirectoryPtr directory, Wait wait) override {
    return call_at<Listing>(
        CallKind::kList, itself(std::move(directory)),
        [root = root_](const At& at) { return operations::list(*root, at.directory); }, wait);
  }
  Outcome<Opened> open_file(Place place, int flags) override {
    return open_by(dispatcher_, root_, CallKind::kOpen, flags,
                   [root = root_, place = std::move(place), flags]() -> Result<OpenedFd> {
                     TRY_ASSIGN(const Located at, locate(place));
                     return operations::open_file(*root, at.at, flags);
                   });
  }
  Outcome<Opened> create_file(Place place, int flags, uint32_t mode, Caller caller) override {
    return open_by(dispatcher_, root_, CallKind::kCreate, flags,
                   [root = root_, place = std::move(place), flags, mode,
                    creator = creator(caller)]() -> Result<OpenedFd> {
                     TRY_ASSIGN(const Located at, locate(place));
                     return operations::create_file(*root, at.at, flags, mode, creator);
                   });
  }
  Outcome<Attributes> make_directory(Place place, uint32_t mode, Caller caller) override {
    return call_at<Attributes>(CallKind::kMakeDirectory, std::move(place),
                               [root = root_, mode, creator = creator(caller)](const At& at) {
                                 return operations::make_directory(*root, at, mode, creator);
                               });
  }
  Outcome<Attributes> make_node(Place place, uint32_t mode, uint64_t rdev, Caller caller) override {
    return call_at<Attributes>(CallKind::kMakeNode, std::move(place),
                               [root = root_, mode, rdev, creator = creator(caller)](const At& at) {
                                 return operations::make_node(*root, at, mode, rdev, creator);
                               });
  }
  Outcome<Attributes> make_symlink(std::string target, Place place, Caller caller) override {
    return call_at<Attributes>(
        CallKind::kMakeSymlink, std::move(place),
        [root = root_, target = std::move(target), creator = creator(caller)](const At& at) {
          return operations::make_symlink(*root, target, at, creator);
        });
  }
  Outcome<Attributes> link(Place place, Place new_place) override {
    return call_at<Attributes>(
        CallKind::kLink, std::move(place), std::move(new_place),
        [root = root_](const At& at, const At& to) { return operations::link(*root, at, to); });
  }
  Outcome<void> unlink(Place place) override {
    return call_at<void>(CallKind::kUnlink, std::move(place),
                         [](const At& at) { return operations::unlink(at, 0); });
  }
  Outcome<void> remove_directory(Place place) override {
    return call_at<void>(CallKind::kRemoveDirectory, std::move(place),
                         [](const At& at) { return operations::unlink(at, AT_REMOVEDIR); });
  }
  Outcome<void> rename(Place place, Place new_place, unsigned flags) override {
    return call_at<void>(
        CallKind::kRename, std::move(place), std::move(new_place),
        [flags](const At& at, const At& to) { return operations::rename(at, to, flags); });
  }
  Outcome<Attributes> set_attributes(Place place, AttributeChange change) override {
    return call_at<Attributes>(CallKind::kSetAttributes, std::move(place),
                               [root = root_, change](const At& at) {
                                 return operations::set_attributes(*root, at, change);
                               });
  }
  Outcome<void> sync_directory(DirectoryPtr directory, bool data_only) override {
    return call_at<void>(
        CallKind::kSyncDirectory, itself(std::move(directory)),
        [data_only](const At& at) { return operations::sync_directory(at.directory, data_only); });
  }
  Outcome<std::string> get_xattr(Place place, std::string name) override {
    return call_at<std::string>(
        CallKind::kGetXattr, std::move(place),
        [root = root_, name = std::move(name)](const At& at) -> Result<std::string> {
          TRY_ASSIGN(const UniqueFd node, operations::node(*root, at));
          return operations::get_xattr(node.get(), name);
        });
  }
  Outcome<void> set_xattr(Place place, std::string name, std::string value, int flags,
                          std::optional<Credentials> as) override {
    if (!act_as_caller_) as.reset();
    return call_at<void>(CallKind::kSetXattr, std::move(place),
                         [root = root_, name = std::move(name), value = std::move(value), flags,
                          as = std::move(as)](const At& at) -> Result<void> {
                           TRY_ASSIGN(const UniqueFd node, operations::node(*root, at));
                           return operations::set_xattr(node.get(), name, value, flags, as);
                         });
  }
  Outcome<std::vector<std::string>> list_xattr(Place place) override {
    using Names = std::vector<std::string>;
    return call_at<Names>(CallKind::kListXattr, std::move(place),
                          [root = root_](const At& at) -> Result<Names> {
                            TRY_ASSIGN(const UniqueFd node, operations::node(*root, at));
                            return operations::list_xattr(node.get());
                          });
  }
  Outcome<void> remove_xattr(Place place, std::string name) override {
    return call_at<void>(CallKind::kRemoveXattr, std::move(place),
                         [root = root_, name = std::move(name)](const At& at) -> Result<void> {
                           TRY_ASSIGN(const UniqueFd node, operations::node(*root, at));
                           return operations::remove_xattr(node.get(), name);
                         });
  }
  Outcome<struct statvfs> space() override {
    return call_at<struct statvfs>(CallKind::kSpace, itself(root_directory_),
                                   [](const At& at) { return operations::space(at.directory); });
  }

  InodeNumbers inode_numbers() const override { return root_->inode_numbers(); }
  bool directory_times_are_kept() const override { return root_->directory_times_are_kept(); }
  bool makes_up_sizes() const override { return root_->makes_up_sizes(); }
  bool is_up() const override { return dispatcher_->is_up(); }
  void on_state_change(std::function<void(bool up)> notify) override {
    dispatcher_->on_state_change(std::move(notify));
  }

 private:
  template <class T>
  Outcome<T> call(CallKind kind, Work<T> work, Wait wait = Wait::kForAnswer) {
    return Dispatcher::call<T>(dispatcher_, kind, std::move(work), wait);
  }
  template <class T>
  Outcome<T> call_at(CallKind kind, Place place, std::move_only_function<Result<T>(const At&)> act,
                     Wait wait = Wait::kForAnswer) {
    Work<T> work = [place = std::move(place), act = std::move(act)]() mutable -> Result<T> {
      TRY_ASSIGN(const Located at, locate(place));
      return act(at.at);
    };
    return call<T>(kind, std::move(work), wait);
  }
  template <class T>
  Outcome<T> call_at(CallKind kind, Place place, Place other,
                     std::move_only_function<Result<T>(const At&, const At&)> act) {
    Work<T> work = [place = std::move(place), other = std::move(other),
                    act = std::move(act)]() mutable -> Result<T> {
      TRY_ASSIGN(const Located at, locate(place));
      TRY_ASSIGN(const Located other_at, locate(other));
      return act(at.at, other_at.at);
    };
    return call<T>(kind, std::move(work));
  }
  static Place itself(DirectoryPtr directory) { return {std::move(directory), {}, 0}; }
  Creator creator(const Caller& caller) const { return {caller, act_as_caller_}; }

  const std::shared_ptr<Root> root_;
  const DirectoryPtr root_directory_ = std::make_shared<const DirectoryFd>(root_);
  const std::shared_ptr<Dispatcher> dispatcher_;
  const bool act_as_caller_;
};

}  // namespace

Result<std::unique_ptr<Source>> Source::open(const std::string& root, const SourceOptions& options,
                                             Registry& registry, const Clock& clock) {
  auto beneath = std::make_shared<Root>(root);
  auto dispatcher = std::make_shared<Dispatcher>(options, beneath, registry, clock);
  TRY(dispatcher->attach_root());
  const bool act_as_caller = options.act_as_caller && ::geteuid() == 0;
  return std::make_unique<DirectorySource>(std::move(beneath), std::move(dispatcher),
                                           act_as_caller);
}

}  // namespace larder::source
