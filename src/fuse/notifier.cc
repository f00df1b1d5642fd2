#include "fuse/notifier.h"

#include <linux/fuse.h>
#include <unistd.h>

#include <cstring>

#include "base/limited_log.h"

namespace larder::fuse {
namespace {
constexpr int32_t kNotifyIncEpoch = 8;  // FUSE_NOTIFY_INC_EPOCH, protocol 7.44
}

Notifier::Notifier(fuse_session* session, Registry& registry)
    : session_(session),
      sent_(registry.counter("larder_kernel_invalidations_total",
                             "Notifications that made the kernel forget pages or a name.")),
      given_up_(
          registry.counter("larder_kernel_invalidations_given_up_total",
                           "Names left to their time to live because too many were waiting.")),
      thread_([this] { run(); }) {}

Notifier::~Notifier() {
  stop();
}

void Notifier::stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Notifier::invalidate_node(fs::KernelId node) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    waiting_.nodes.insert(node.value);
  }
  changed_.notify_one();
}

void Notifier::invalidate_attributes(fs::KernelId node) {
  constexpr off_t kNoPages = -1;
  fuse_lowlevel_notify_inval_inode(session_, node.value, kNoPages, 0);
  sent_.add();
}

void Notifier::invalidate_entry(fs::KernelId parent, std::string name) {
  {
    MutexLock lock(mutex_);
    if (stopping_ || waiting_.all_names) return;
    waiting_.entries.insert({parent.value, std::move(name)});
    if (waiting_.entries.size() > kNamesMax) {
      waiting_.entries.clear();
      waiting_.all_names = true;
    }
  }
  changed_.notify_one();
}

void Notifier::run() {
  for (;;) {
    Batch batch;
    {
      MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) changed_.wait(mutex_);
      if (stopping_) return;
      std::swap(batch, waiting_);
    }
    send(batch);
  }
}

// Errors are of no interest: ENOENT says that the kernel does not know the node, others that it is
// gone.
void Notifier::send(const Batch& batch) {
  if (batch.all_names) forget_all_names();
  for (const Entry& entry : batch.entries) {
    fuse_lowlevel_notify_inval_entry(session_, entry.parent, entry.name.data(), entry.name.size());
    sent_.add();
  }
  for (const uint64_t node : batch.nodes) {
    fuse_lowlevel_notify_inval_inode(session_, node, 0, 0);
    sent_.add();
  }
}

void Notifier::forget_all_names() {
  fuse_out_header header{.len = sizeof(fuse_out_header), .error = kNotifyIncEpoch, .unique = 0};
  if (::write(fuse_session_fd(session_), &header, sizeof header) == sizeof header) {
    sent_.add();
    return;
  }
  given_up_.add(kNamesMax);
  log::limited_warning("names changed at once", 0, [reason = errno] {
    return fmt::format(
        "{} names changed at once and this kernel cannot forget all names ({}); it believes them "
        "until their time to live ends",
        kNamesMax, std::strerror(reason));
  });
}

}  // namespace larder::fuse
