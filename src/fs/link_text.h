// LinkText: the text of a symbolic link as it was last read, and the version of the link that it
// belongs to.
//
// The text has the validator, the age and the end of the link's attributes: it is given while the
// attributes are fresh and of its version.  The kernel keeps it with its inode, so each version
// that was given to the kernel needs an inode of its own (Node::content_version_).  Not
// thread-safe.
#pragma once

#include <string>
#include <utility>

#include "base/attributes.h"

namespace larder::fs {

class LinkText {
 public:
  // It is given to who asks.  Untrusted: the link may have been replaced meanwhile, or could be so
  // that nobody sees it; it is not of any version that is seen later.
  void keep(std::string text, const Validator& version, bool trusted) {
    text_ = std::move(text);
    version_ = version;
    trusted_ = trusted;
  }
  // The link is of that version now.  True when what was given before need not be its text.
  bool observe(const Validator& version) {
    if (text_.empty() || (trusted_ && version == version_)) return false;
    text_.clear();
    return true;
  }
  // Empty: not known.
  const std::string& of(const Validator& version) const {
    static const std::string kNone;
    return trusted_ && version == version_ ? text_ : kNone;
  }
  // Whatever has become of the link: for while the source does not answer.
  const std::string& last_known() const { return text_; }

 private:
  std::string text_;
  Validator version_;
  bool trusted_ = false;
};

}  // namespace larder::fs
