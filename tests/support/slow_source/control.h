// The control socket: settings and counts of a running slow source.
//
// A client sends lines, ends its side, and reads the reply to its end.  Lines: KEY=VALUE
// (faults.h), "counts", "reset" (the counts), "stop" (unmounts and ends).  The reply is what was
// asked for, or "error: ...".
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "faults.h"

namespace larder::slow_source {

// Sends the lines and gives the reply; "error: ..." also when nobody listens.
std::string control_request(const std::string& socket_path, std::string_view lines);

class ControlServer {
 public:
  // Listens at the path from here on; `stop` is called on the server's thread when a client says
  // "stop".
  ControlServer(std::string socket_path, Faults& faults, std::function<void()> stop);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  bool listening() const { return listen_fd_ >= 0; }

 private:
  void serve();
  std::string carry_out(std::string_view line);

  const std::string socket_path_;
  Faults& faults_;
  const std::function<void()> stop_;
  bool stop_asked_ = false;
  int listen_fd_;
  std::jthread thread_;
};

}  // namespace larder::slow_source
