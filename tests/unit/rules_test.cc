#include "cache/rules.h"

#include <gtest/gtest.h>

#include "base/random.h"

namespace larder::cache {
namespace {

bool matches(std::string_view pattern, std::string_view path) {
  const auto glob = Glob::parse(pattern);
  EXPECT_TRUE(glob) << pattern;
  return glob && glob->matches(path);
}

TEST(Glob, ANameIsLookedForInEveryDirectory) {
  for (const char* path : {"a.iso", "x/a.iso", "x/y/a.iso", ".iso"})
    EXPECT_TRUE(matches("*.iso", path)) << path;
  for (const char* path : {"a.isox", "a.iso.part", "iso", "x/aiso"})
    EXPECT_FALSE(matches("*.iso", path)) << path;
  EXPECT_TRUE(matches("name", "a/name"));
  EXPECT_FALSE(matches("name", "a/rename"));
}

TEST(Glob, APatternWithASlashBeginsAtTheRoot) {
  EXPECT_TRUE(matches("a/*.c", "a/x.c"));
  EXPECT_FALSE(matches("a/*.c", "b/a/x.c"));
  EXPECT_FALSE(matches("a/*.c", "a/b/x.c"));
  EXPECT_TRUE(matches("/top", "top"));
  EXPECT_FALSE(matches("/top", "a/top"));
}

TEST(Glob, TwoStarsGoAcrossDirectories) {
  for (const char* path : {"a/b", "a/x/b", "a/x/y/b"}) EXPECT_TRUE(matches("a/**/b", path)) << path;
  for (const char* path : {"a/xb", "ab", "x/a/b"}) EXPECT_FALSE(matches("a/**/b", path)) << path;
  EXPECT_TRUE(matches("**/b", "b"));
  EXPECT_TRUE(matches("**/x/*.c", "p/q/x/y.c"));
  EXPECT_TRUE(matches("a/**", "a/b/c"));
  EXPECT_FALSE(matches("a/**", "a"));
  EXPECT_TRUE(matches("a**z", "abcz"));
  EXPECT_TRUE(matches("a/b**z", "a/b/c/z"));
}

TEST(Glob, WhatMatchesADirectoryCoversAllBeneath) {
  EXPECT_TRUE(matches("tmp", "tmp/x"));
  EXPECT_TRUE(matches("tmp", "a/tmp/x/y"));
  EXPECT_TRUE(matches("a/b", "a/b/c"));
  EXPECT_TRUE(matches("tmp/", "a/tmp/x"));
  EXPECT_FALSE(matches("tmp/", "a/tmp")) << "no directory";
}

TEST(Glob, QuestionMarksSetsAndBackslashes) {
  EXPECT_TRUE(matches("a?c", "abc"));
  EXPECT_FALSE(matches("a?c", "ac"));
  EXPECT_FALSE(matches("x/a?c", "x/a/c"));
  EXPECT_TRUE(matches("[a-cx]1", "b1"));
  EXPECT_FALSE(matches("[a-cx]1", "d1"));
  EXPECT_TRUE(matches("[!a-c]1", "d1"));
  EXPECT_TRUE(matches("[]]", "]"));
  EXPECT_TRUE(matches("[a\\]b]", "]"));
  EXPECT_TRUE(matches("\\*", "*"));
  EXPECT_FALSE(matches("\\*", "a"));
  EXPECT_TRUE(matches("\xc3\xa9*", "\xc3\xa9t\xc3\xa9"));
}

TEST(Glob, WhatIsNoPatternIsRefused) {
  for (const std::string& pattern :
       {std::string(), std::string("/"), std::string("a//b"), std::string("[a"), std::string("["),
        std::string("a\\"), std::string("[a-"), std::string(256, 'a')}) {
    const auto glob = Glob::parse(pattern);
    ASSERT_FALSE(glob) << pattern;
    EXPECT_FALSE(glob.error().detail().empty());
  }
  EXPECT_TRUE(Glob::parse(std::string(255, 'a')));
}

TEST(Glob, ManyStarsTakeNoLongTime) {
  std::string pattern;
  for (int i = 0; i < 80; ++i) pattern += "**a";
  EXPECT_FALSE(matches(pattern, std::string(4000, 'a') + "b"));
  EXPECT_TRUE(matches(pattern, std::string(4000, 'a')));
}

// The obvious way, for patterns of a few characters.
bool matches_slowly(std::string_view pattern, std::string_view path) {
  if (pattern.empty()) return path.empty() || path.starts_with('/');
  if (pattern.starts_with("**")) {
    for (size_t i = 0; i <= path.size(); ++i)
      if (matches_slowly(pattern.substr(2), path.substr(i))) return true;
    return false;
  }
  if (pattern.starts_with('*')) {
    for (size_t i = 0; i <= path.size(); ++i) {
      if (matches_slowly(pattern.substr(1), path.substr(i))) return true;
      if (i < path.size() && path[i] == '/') break;
    }
    return false;
  }
  if (path.empty()) return false;
  const bool same = pattern[0] == '?' ? path[0] != '/' : pattern[0] == path[0];
  return same && matches_slowly(pattern.substr(1), path.substr(1));
}

TEST(Glob, AgreesWithASlowMatcher) {
  Random random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string pattern = "a/", path = "a/";
    for (uint64_t n = random.below(6); n > 0; --n) pattern += "ab?*x"[random.below(5)];
    if (random.one_in(3)) pattern += "x**b";
    for (uint64_t n = random.below(8); n > 0; --n)
      path += path.ends_with('/') ? "abx"[random.below(3)] : "abx/"[random.below(4)];
    const auto glob = Glob::parse(pattern);
    if (!glob || pattern.ends_with('/') || pattern.find("**/") != pattern.npos) continue;
    ASSERT_EQ(glob->matches(path), matches_slowly(pattern, path)) << pattern << " " << path;
  }
}

Rule rule(std::string_view pattern) {
  return {*Glob::parse(pattern), {}, {}, {}, {}};
}

TEST(Rules, LaterOnesOverrideWhatTheySay) {
  Rules rules;
  EXPECT_TRUE(rules.empty());
  Rule all = rule("**");
  all.ttl = std::chrono::hours(1);
  all.priority = Priority::kLow;
  ASSERT_TRUE(rules.add(all));
  Rule iso = rule("*.iso");
  iso.admit = false;
  ASSERT_TRUE(rules.add(iso));
  Rule keep = rule("keep/");
  keep.admit = true;
  keep.priority = Priority::kHigh;
  keep.ttl = Nanos(0);
  ASSERT_TRUE(rules.add(keep));

  const Hints plain = rules.match("x/y");
  EXPECT_TRUE(plain.admit);
  EXPECT_EQ(plain.ttl, std::chrono::hours(1));
  EXPECT_EQ(plain.priority, Priority::kLow);
  EXPECT_FALSE(rules.match("x/a.iso").admit);
  const Hints kept = rules.match("keep/a.iso");
  EXPECT_TRUE(kept.admit);
  EXPECT_EQ(kept.ttl, Nanos(0));
  EXPECT_EQ(kept.priority, Priority::kHigh);
  EXPECT_TRUE(rules.any_ttl());
}

TEST(Rules, APinIsAPriorityOfItsOwn) {
  Rules rules;
  Rule pinned = rule("a");
  pinned.pin = true;
  ASSERT_TRUE(rules.add(pinned));
  Rule high = rule("*");
  high.priority = Priority::kHigh;
  ASSERT_TRUE(rules.add(high));
  EXPECT_EQ(rules.match("a").priority, Priority::kPinned);
  EXPECT_EQ(rules.match("b").priority, Priority::kHigh);
  Rule loose = rule("a");
  loose.pin = false;
  ASSERT_TRUE(rules.add(loose));
  EXPECT_EQ(rules.match("a").priority, Priority::kHigh);
  EXPECT_FALSE(rules.any_ttl());
}

TEST(Rules, NothingIsSaidWithoutRules) {
  const Hints hints = Rules().match("a");
  EXPECT_TRUE(hints.admit);
  EXPECT_EQ(hints.ttl, std::nullopt);
  EXPECT_EQ(hints.priority, Priority::kNormal);
}

TEST(Rules, TheirNumberIsBounded) {
  Rules rules;
  for (size_t i = 0; i < Rules::kRulesMax; ++i) ASSERT_TRUE(rules.add(rule("a")));
  EXPECT_FALSE(rules.add(rule("a")));
}

}  // namespace
}  // namespace larder::cache
