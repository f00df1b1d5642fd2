// The source that is a directory of a mounted file system: operations (source/operations.h) sent
// through the dispatcher (source/dispatcher.h).
#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "source/dispatcher.h"
#include "source/operations.h"
#include "source/source.h"
#include "source/source_file.h"

namespace larder::source {
namespace {

using operations::Creator;

class DirectorySource final : public Source {
 public:
  DirectorySource(std::shared_ptr<Root> root, std::shared_ptr<Dispatcher> dispatcher,
                  bool act_as_caller)
      : root_(std::move(root)), dispatcher_(std::move(dispatcher)), act_as_caller_(act_as_caller) {}
  ~DirectorySource() override { dispatcher_->stop(); }
  void stop() override { dispatcher_->stop(); }

  Outcome<Attributes> attributes(std::string path, Wait wait) override {
    return call<Attributes>(
        CallKind::kAttributes,
        [root = root_, path = std::move(path)] { return operations::attributes(*root, path); },
        wait);
  }
  Outcome<std::string> read_link(std::string path) override {
    return call<std::string>(CallKind::kReadLink, [root = root_, path = std::move(path)] {
      return operations::read_link(*root, path);
    });
  }
  Outcome<std::vector<DirectoryEntry>> list(std::string path, Wait wait) override {
    return call<std::vector<DirectoryEntry>>(
        CallKind::kList,
        [root = root_, path = std::move(path)] { return operations::list(*root, path); }, wait);
  }
  Outcome<Opened> open_file(std::string path, int flags) override {
    return open_by(dispatcher_, root_, CallKind::kOpen, flags,
                   [root = root_, path = std::move(path), flags] {
                     return operations::open_file(*root, path, flags);
                   });
  }
  Outcome<Opened> create_file(std::string path, int flags, uint32_t mode, Caller caller) override {
    return open_by(dispatcher_, root_, CallKind::kCreate, flags,
                   [root = root_, path = std::move(path), flags, mode, creator = creator(caller)] {
                     return operations::create_file(*root, path, flags, mode, creator);
                   });
  }
  Outcome<Attributes> make_directory(std::string path, uint32_t mode, Caller caller) override {
    return call<Attributes>(CallKind::kMakeDirectory, [root = root_, path = std::move(path), mode,
                                                       creator = creator(caller)] {
      return operations::make_directory(*root, path, mode, creator);
    });
  }
  Outcome<Attributes> make_node(std::string path, uint32_t mode, uint64_t rdev,
                                Caller caller) override {
    return call<Attributes>(CallKind::kMakeNode, [root = root_, path = std::move(path), mode, rdev,
                                                  creator = creator(caller)] {
      return operations::make_node(*root, path, mode, rdev, creator);
    });
  }
  Outcome<Attributes> make_symlink(std::string target, std::string path, Caller caller) override {
    return call<Attributes>(CallKind::kMakeSymlink,
                            [root = root_, target = std::move(target), path = std::move(path),
                             creator = creator(caller)] {
                              return operations::make_symlink(*root, target, path, creator);
                            });
  }
  Outcome<Attributes> link(std::string path, std::string new_path) override {
    return call<Attributes>(CallKind::kLink,
                            [root = root_, path = std::move(path), new_path = std::move(new_path)] {
                              return operations::link(*root, path, new_path);
                            });
  }
  Outcome<void> unlink(std::string path) override {
    return call<void>(CallKind::kUnlink, [root = root_, path = std::move(path)] {
      return operations::unlink(*root, path, 0);
    });
  }
  Outcome<void> remove_directory(std::string path) override {
    return call<void>(CallKind::kRemoveDirectory, [root = root_, path = std::move(path)] {
      return operations::unlink(*root, path, AT_REMOVEDIR);
    });
  }
  Outcome<void> rename(std::string path, std::string new_path, unsigned flags) override {
    return call<void>(CallKind::kRename,
                      [root = root_, path = std::move(path), new_path = std::move(new_path),
                       flags] { return operations::rename(*root, path, new_path, flags); });
  }
  Outcome<Attributes> set_attributes(std::string path, AttributeChange change) override {
    return call<Attributes>(CallKind::kSetAttributes,
                            [root = root_, path = std::move(path), change] {
                              return operations::set_attributes(*root, path, change);
                            });
  }
  Outcome<void> sync_directory(std::string path, bool data_only) override {
    return call<void>(CallKind::kSyncDirectory, [root = root_, path = std::move(path), data_only] {
      return operations::sync_directory(*root, path, data_only);
    });
  }
  Outcome<std::string> get_xattr(std::string path, std::string name) override {
    return call<std::string>(CallKind::kGetXattr,
                             [root = root_, path = std::move(path), name = std::move(name)] {
                               return operations::get_xattr(*root, path, name);
                             });
  }
  Outcome<void> set_xattr(std::string path, std::string name, std::string value, int flags,
                          std::optional<Credentials> as) override {
    if (!act_as_caller_) as.reset();
    return call<void>(CallKind::kSetXattr,
                      [root = root_, path = std::move(path), name = std::move(name),
                       value = std::move(value), flags, as = std::move(as)] {
                        return operations::set_xattr(*root, path, name, value, flags, as);
                      });
  }
  Outcome<std::vector<std::string>> list_xattr(std::string path) override {
    return call<std::vector<std::string>>(
        CallKind::kListXattr,
        [root = root_, path = std::move(path)] { return operations::list_xattr(*root, path); });
  }
  Outcome<void> remove_xattr(std::string path, std::string name) override {
    return call<void>(CallKind::kRemoveXattr,
                      [root = root_, path = std::move(path), name = std::move(name)] {
                        return operations::remove_xattr(*root, path, name);
                      });
  }
  Outcome<struct statvfs> space() override {
    return call<struct statvfs>(CallKind::kSpace,
                                [root = root_] { return operations::space(*root); });
  }

  bool inodes_are_stable() const override { return root_->inodes_are_stable(); }
  bool is_up() const override { return dispatcher_->is_up(); }
  void on_state_change(std::function<void(bool up)> notify) override {
    dispatcher_->on_state_change(std::move(notify));
  }

 private:
  template <class T>
  Outcome<T> call(CallKind kind, Work<T> work, Wait wait = Wait::kForAnswer) {
    return Dispatcher::call<T>(dispatcher_, kind, std::move(work), wait);
  }
  Creator creator(const Caller& caller) const { return {caller, act_as_caller_}; }

  const std::shared_ptr<Root> root_;
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
