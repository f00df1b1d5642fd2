#include "fuse/notifier.h"

#include <linux/fuse.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>

#include "base/limited_log.h"

namespace larder::fuse {
namespace {
constexpr int32_t kNotifyIncEpoch = 8;  // FUSE_NOTIFY_INC_EPOCH, protocol 7.44

// fuse_notify_inval_entry_out as protocol 7.38 has it (Linux 6.2).  An older kernel does not look
// at the flags and throws the name out.
struct ExpireEntry {
  uint64_t parent;
  uint32_t name_bytes;
  uint32_t flags;
};
constexpr uint32_t kExpireOnly = 1;  // FUSE_EXPIRE_ONLY

}  // namespace

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

void Notifier::invalidate_node(fs::KernelId node, std::function<void()> then) {
  {
    MutexLock lock(mutex_);
    if (stopping_) return;
    auto& waiting = waiting_.nodes[node.value];
    if (then) waiting.push_back(std::move(then));
  }
  changed_.notify_one();
}

void Notifier::invalidate_attributes(fs::KernelId node) {
  constexpr off_t kNoPages = -1;
  fuse_lowlevel_notify_inval_inode(session_, node.value, kNoPages, 0);
  sent_.add();
}

void Notifier::expire_entry(fs::KernelId parent, std::string name) {
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
  if (batch.all_names) give_up_names();
  for (const Entry& entry : batch.entries) send_expire_entry(entry);
  for (const auto& [node, waiting] : batch.nodes) {
    fuse_lowlevel_notify_inval_inode(session_, node, 0, 0);
    sent_.add();
    for (const auto& then : waiting) then();
  }
}

// By hand: libfuse has it from 3.15 on.
void Notifier::send_expire_entry(const Entry& entry) {
  ExpireEntry body{.parent = entry.parent,
                   .name_bytes = static_cast<uint32_t>(entry.name.size()),
                   .flags = kExpireOnly};
  fuse_out_header header{.len = 0, .error = FUSE_NOTIFY_INVAL_ENTRY, .unique = 0};
  std::string name = entry.name;
  iovec parts[] = {{&header, sizeof header}, {&body, sizeof body}, {name.data(), name.size() + 1}};
  for (const iovec& part : parts) header.len += static_cast<uint32_t>(part.iov_len);
  if (::writev(fuse_session_fd(session_), parts, std::size(parts)) > 0) sent_.add();
}

bool Notifier::expire_all_entries() {
  fuse_out_header header{.len = sizeof(fuse_out_header), .error = kNotifyIncEpoch, .unique = 0};
  if (::write(fuse_session_fd(session_), &header, sizeof header) != sizeof header) return false;
  sent_.add();
  return true;
}

void Notifier::give_up_names() {
  if (expire_all_entries()) return;
  given_up_.add(kNamesMax);
  log::limited_warning("names changed at once", 0, [reason = errno] {
    return fmt::format(
        "{} names changed at once and this kernel cannot forget all names ({}); it believes them "
        "until their time to live ends",
        kNamesMax, std::strerror(reason));
  });
}

}  // namespace larder::fuse
