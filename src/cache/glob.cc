#include "cache/glob.h"

#include <utility>

namespace larder::cache {

class Glob::Parser {
 public:
  explicit Parser(std::string_view pattern) : rest_(pattern) { glob_.text_ = pattern; }

  Result<Glob> parse() {
    if (rest_.empty()) return fail(Code::kInvalid, "it is empty");
    if (rest_.size() > kLengthMax) return fail(Code::kInvalid, "it is longer than 255 characters");
    for (const std::string_view part : {"//", "\n"})
      if (rest_.find(part) != rest_.npos) return fail(Code::kInvalid, "it has a '//' or a newline");
    if (rest_.ends_with('/')) {
      glob_.directories_only_ = true;
      rest_.remove_suffix(1);
    }
    if (rest_.starts_with('/'))
      rest_.remove_prefix(1);
    else if (rest_.find('/') == rest_.npos)
      add_directories();
    if (rest_.empty()) return fail(Code::kInvalid, "it names the root itself");
    while (!rest_.empty()) TRY(parse_token());
    return std::move(glob_);
  }

 private:
  void add(Kind kind, char character = 0) { glob_.tokens_.push_back({kind, character, 0}); }
  void add_directories() {
    add(Kind::kDirectories);
    add(Kind::kWithinName);
  }
  bool take(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  char take_one() {
    const char first = rest_.front();
    rest_.remove_prefix(1);
    return first;
  }
  bool at_name() const {
    return glob_.tokens_.empty() ||
           (glob_.tokens_.back().kind == Kind::kCharacter && glob_.tokens_.back().character == '/');
  }

  Result<void> parse_token() {
    if (at_name() && take("**/")) {
      add_directories();
    } else if (take("**")) {
      add(Kind::kAnything);
    } else if (take("*")) {
      add(Kind::kMany);
    } else if (take("?")) {
      add(Kind::kOne);
    } else if (take("[")) {
      return parse_set();
    } else {
      const bool escaped = take("\\");
      if (escaped && rest_.empty()) return fail(Code::kInvalid, "a backslash ends it");
      add(Kind::kCharacter, take_one());
    }
    return {};
  }

  Result<void> parse_set() {
    const bool negated = take("!") || take("^");
    std::bitset<256> set;
    for (bool first = true; first || !rest_.starts_with(']'); first = false) {
      take("\\");
      if (rest_.empty()) return fail(Code::kInvalid, "a '[' is not closed");
      const auto low = static_cast<uint8_t>(take_one());
      uint8_t high = low;
      if (rest_.size() >= 2 && rest_[0] == '-' && rest_[1] != ']') {
        take("-");
        take("\\");
        if (rest_.empty()) return fail(Code::kInvalid, "a '[' is not closed");
        high = static_cast<uint8_t>(take_one());
      }
      for (unsigned c = low; c <= high; ++c) set.set(c);
      if (rest_.empty()) return fail(Code::kInvalid, "a '[' is not closed");
    }
    take("]");
    if (negated) set.flip();
    set.reset('/');
    glob_.tokens_.push_back({Kind::kSet, 0, static_cast<uint8_t>(glob_.sets_.size())});
    glob_.sets_.push_back(set);
    return {};
  }

  std::string_view rest_;
  Glob glob_;
};

Result<Glob> Glob::parse(std::string_view pattern) {
  return Parser(pattern).parse();
}

bool Glob::matches(std::string_view path) const {
  States states;
  states.set(0);
  skip_empty(states);
  for (const char character : path) {
    if (character == '/' && states.test(tokens_.size())) return true;  // a directory above
    states = step(states, character);
    skip_empty(states);
    if (states.none()) return false;
  }
  return !directories_only_ && states.test(tokens_.size());
}

// What may stand for nothing is passed; tokens are in order, so once through them is enough.
void Glob::skip_empty(States& states) const {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!states.test(i)) continue;
    if (tokens_[i].kind == Kind::kMany || tokens_[i].kind == Kind::kAnything) states.set(i + 1);
    if (tokens_[i].kind == Kind::kDirectories) states.set(i + 2);
  }
}

Glob::States Glob::step(const States& states, char character) const {
  const bool is_slash = character == '/';
  States next;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    if (!states.test(i)) continue;
    switch (tokens_[i].kind) {
      case Kind::kCharacter:
        if (character == tokens_[i].character) next.set(i + 1);
        break;
      case Kind::kOne:
        if (!is_slash) next.set(i + 1);
        break;
      case Kind::kSet:
        if (sets_[tokens_[i].set].test(static_cast<uint8_t>(character))) next.set(i + 1);
        break;
      case Kind::kMany:
        if (!is_slash) next.set(i);
        break;
      case Kind::kAnything:
        next.set(i);
        break;
      case Kind::kDirectories:
        if (!is_slash) next.set(i + 1);
        break;
      case Kind::kWithinName:
        next.set(is_slash ? i - 1 : i);
        break;
    }
  }
  return next;
}

}  // namespace larder::cache
