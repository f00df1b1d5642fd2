#include "base/error.h"

#include <cstring>

namespace larder {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kCorrupt:
      return "stored bytes do not verify";
    case Code::kNewerFormat:
      return "written by a newer version of larder";
    case Code::kCancelled:
      return "cancelled";
    case Code::kTimedOut:
      return "the source did not answer in time";
    case Code::kSourceDown:
      return "the source is down";
    case Code::kLimit:
      return "a configured limit is reached";
    case Code::kShort:
      return "fewer bytes than the file's size promised";
    case Code::kPoisoned:
      return "an earlier write or sync failed";
    case Code::kLocked:
      return "in use by another process";
    default:
      return strerrordesc_np(static_cast<int>(code)) != nullptr
                 ? strerrordesc_np(static_cast<int>(code))
                 : "unknown error";
  }
}

std::string Error::message() const {
  std::string text = detail_;
  if (!text.empty()) text += ": ";
  text += code_name(code_);
  return text;
}

}  // namespace larder
