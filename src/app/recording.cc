#include "app/recording.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "control/client.h"
#include "larder/control.h"

namespace larder::app {
namespace {

constexpr auto kLeaseSeconds =
    std::chrono::duration_cast<std::chrono::seconds>(fs::AccessRecorder::kLease).count();

// A request to end may come while the mount asks its source on the way there.
Result<control::ControlClient> open_uninterrupted(const std::string& control_file) {
  for (;;) {
    auto client = control::ControlClient::open(control_file);
    if (client || !client.error().is(static_cast<Code>(EINTR))) return client;
  }
}

}  // namespace

Result<Recording> Recording::begin(const std::string& mountpoint, const std::string& control_dir,
                                   bool blocks) {
  Recording recording(mountpoint,
                      fmt::format("{}/{}/{}", mountpoint, control_dir, control::kControlFile));
  TRY_ASSIGN(recording.number_,
             recording.ask(blocks ? "record-begin blocks" : "record-begin opens"));
  return recording;
}

Recording::Recording(Recording&& other) noexcept
    : mountpoint_(std::move(other.mountpoint_)),
      control_file_(std::move(other.control_file_)),
      number_(std::exchange(other.number_, {})) {}

Recording::~Recording() {
  if (number_.empty()) return;
  // If the mount does not hear of it, the recording ends by itself.
  if (const auto cancelled = ask(fmt::format("record-end {} drop", number_)); !cancelled)
    log::debug("{}", cancelled.error().detail());
}

Result<control::RecordedPart> Recording::read() {
  TRY_ASSIGN(const std::string reply, ask("record-read " + number_));
  auto part = control::parse_record_read(reply);
  if (!part) return fail(Code::kInvalid, part.error().message());
  if (part->state == fs::AccessRecorder::State::kEnd) number_.clear();
  return part;
}

Result<void> Recording::end() {
  TRY(ask("record-end " + number_));
  return {};
}

Result<std::string> Recording::ask(std::string_view command) const {
  auto client = open_uninterrupted(control_file_);
  if (!client) return unreachable(client.error());
  const auto replies = client->run(fmt::format("{}\n", command));
  if (!replies) return unreachable(replies.error());
  const auto& reply = replies->front();
  if (!reply) return refused(reply.error().detail());
  return *reply;
}

std::unexpected<Error> Recording::unreachable(const Error& error) const {
  const auto say = [&](std::string_view what) {
    return fail(Code::kInvalid, fmt::format("{}: {}", mountpoint_, what));
  };
  if (!number_.empty() && (error.is(Code::kNotFound) || error.is(static_cast<Code>(ENOTCONN))))
    return say("unmounted meanwhile");
  if (error.is(Code::kNotFound))
    return say("no control directory there: name it with --control-dir");
  if (error.is(static_cast<Code>(ENOTCONN))) return say("its daemon is gone");
  if (error.is(static_cast<Code>(EACCES)) || error.is(static_cast<Code>(EPERM)))
    return say("only the mount's owner and root may record it");
  return say(error.message());
}

// `reply`: CODE MESSAGE.
std::unexpected<Error> Recording::refused(std::string_view reply) const {
  if (reply.starts_with("EBUSY "))
    return fail(Code::kInvalid,
                fmt::format("{} is being recorded already; a recorder that died is forgotten after "
                            "{} s",
                            mountpoint_, kLeaseSeconds));
  if (reply.starts_with("ENOENT "))
    return fail(Code::kInvalid,
                fmt::format("{} ended the recording, as nothing was fetched for {} s", mountpoint_,
                            kLeaseSeconds));
  return fail(Code::kInvalid,
              fmt::format("{}: {}", mountpoint_, reply.substr(reply.find(' ') + 1)));
}

}  // namespace larder::app
