#include "app/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "app/descriptors.h"
#include "app/keys.h"
#include "app/values.h"
#include "evict/registry.h"

namespace larder::app {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Result<Config> from_options(std::string_view text) {
  TRY_ASSIGN(const auto settings, parse_options(text));
  return make_config(settings);
}

std::string error_of(std::string_view options) {
  const auto config = from_options(options);
  return config ? "no error" : config.error().detail();
}

Result<Config> from_ini(std::string_view text) {
  TRY_ASSIGN(const auto settings, parse_ini(text, "larder.ini"));
  return make_config(settings);
}

std::string ini_error(std::string_view text) {
  const auto settings = parse_ini(text, "larder.ini");
  if (!settings) return settings.error().detail();
  const auto config = make_config(*settings);
  return config ? "no error" : config.error().detail();
}

const Setting& effective(const Config& config, std::string_view key) {
  for (const Setting& setting : config.effective)
    if (setting.key == key) return setting;
  throw std::out_of_range(std::string(key));
}

TEST(Values, SizesTakeUnitsOf1024) {
  EXPECT_EQ(*parse_size("0"), 0u);
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("128K"), 128u << 10);
  EXPECT_EQ(*parse_size("1m"), 1u << 20);
  EXPECT_EQ(*parse_size("50G"), 50ULL << 30);
  EXPECT_EQ(*parse_size("2T"), 2ULL << 40);
  EXPECT_EQ(*parse_size("3MiB"), 3u << 20);
  EXPECT_EQ(*parse_size("7B"), 7u);
}

TEST(Values, SizesThatAreNone) {
  for (const char* text : {"", "K", "-1", "1.5G", "1X", "1KK", " 1K", "1 K", "0x10",
                           "18446744073709551616", "9000000000000G", "8388608T", "1iB"})
    EXPECT_FALSE(parse_size(text)) << text;
  EXPECT_EQ(*parse_size("8388607T"), 8388607ULL << 40);
}

TEST(Values, TimesTakeUnits) {
  using namespace std::chrono_literals;
  EXPECT_EQ(*parse_duration("0"), 0ns);
  EXPECT_EQ(*parse_duration("250ms"), 250ms);
  EXPECT_EQ(*parse_duration("5s"), 5s);
  EXPECT_EQ(*parse_duration("2m"), 2min);
  EXPECT_EQ(*parse_duration("1h"), 1h);
  for (const char* text :
       {"", "5", "s", "-1s", "1d", "1.5s", "1s2", "2562048h", "99999999999999999999s"})
    EXPECT_FALSE(parse_duration(text)) << text;
  EXPECT_TRUE(parse_duration("2562047h"));
}

TEST(Values, SharesAndSwitches) {
  EXPECT_EQ(*parse_size_limit("20%"), (SizeLimit{.bytes = 0, .percent = 20}));
  EXPECT_EQ(*parse_size_limit("1G"), (SizeLimit{.bytes = 1 << 30, .percent = 0}));
  EXPECT_EQ(parse_size_limit("20%")->resolve(1000), 200u);
  EXPECT_EQ(parse_size_limit("1G")->resolve(1000), 1u << 30);
  for (const char* text : {"0%", "101%", "%", "-5%", "5%%"})
    EXPECT_FALSE(parse_size_limit(text)) << text;
  for (const char* text : {"on", "yes", "true", "1"}) EXPECT_TRUE(*parse_switch(text));
  for (const char* text : {"off", "no", "false", "0"}) EXPECT_FALSE(*parse_switch(text));
  EXPECT_FALSE(parse_switch("maybe"));
}

TEST(Values, FormatsParseBack) {
  for (const uint64_t size : {0ULL, 1ULL, 1023ULL, 1024ULL, 1536ULL, 5ULL << 30})
    EXPECT_EQ(*parse_size(format_size(size)), size);
  for (const auto& text : {"250ms", "5s", "90s", "2m", "1h", "0"}) {
    const auto duration = *parse_duration(text);
    EXPECT_EQ(*parse_duration(format_duration(duration)), duration);
  }
  EXPECT_EQ(format_size_limit(*parse_size_limit("20%")), "20%");
}

TEST(Config, DefaultsAreThoseOfTheTable) {
  const auto config = make_config({});
  ASSERT_TRUE(config);
  EXPECT_EQ(config->effective.size(), keys().size());
  for (const Key& key : keys()) {
    EXPECT_EQ(effective(*config, key.name).value, key.default_value);
    EXPECT_EQ(effective(*config, key.name).origin, "default");
    EXPECT_FALSE(key.help.empty());
  }
}

TEST(Config, OptionsSetEveryKindOfKey) {
  const auto config = from_options(
      "cache_dir=/"
      "c,size=50G,memory=1G,block_size=64K,policy=lfu,ttl=90s,profile=private,attr_ttl=3s,io="
      "threads,"
      "passthrough=off,source_timeout=2s,source_threads=9,descriptors=999,threads=3,allow_other,ro,"
      "control_dir=."
      "ctl,"
      "log_level=debug,log_file=/l,readahead=0,commit_interval=50ms,compact_at=30%");
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_EQ(config->cache_dir, "/c");
  EXPECT_EQ(config->size.bytes, 50ULL << 30);
  EXPECT_EQ(config->memory_bytes, 1u << 30);
  EXPECT_EQ(config->block_size_bytes, 64u << 10);
  EXPECT_EQ(config->policy, "lfu");
  EXPECT_EQ(config->ttl, std::chrono::seconds(90));
  EXPECT_EQ(config->profile, Profile::kPrivate);
  EXPECT_EQ(config->attr_ttl, std::chrono::seconds(3));
  EXPECT_EQ(config->io, IoChoice::kThreads);
  EXPECT_EQ(config->passthrough, Passthrough::kOff);
  EXPECT_EQ(config->source_timeout, std::chrono::seconds(2));
  EXPECT_EQ(config->source_threads, 9u);
  EXPECT_EQ(config->descriptors, 999u);
  EXPECT_EQ(config->threads, 3u);
  EXPECT_TRUE(config->allow_other);
  EXPECT_TRUE(config->read_only);
  EXPECT_EQ(config->control_dir, ".ctl");
  EXPECT_EQ(config->log_level, log::Level::kDebug);
  EXPECT_EQ(config->log_file, "/l");
  EXPECT_EQ(config->readahead_bytes, 0u);
  EXPECT_EQ(config->commit_interval, std::chrono::milliseconds(50));
  EXPECT_EQ(config->compact_at_percent, 30u);
  EXPECT_EQ(from_options("passthrough=on")->passthrough, Passthrough::kAuto);
}

TEST(Config, ProfileSetsDefaultsWhichKeysOverride) {
  const auto immutable = from_options("profile=immutable");
  EXPECT_TRUE(immutable->read_only);
  EXPECT_EQ(effective(*immutable, "attr_ttl").origin, "profile=immutable");
  const auto overridden = from_options("attr_ttl=7s,rw,profile=immutable");
  EXPECT_EQ(overridden->attr_ttl, std::chrono::seconds(7));
  EXPECT_FALSE(overridden->read_only);
  EXPECT_EQ(effective(*overridden, "attr_ttl").origin, "-o");
  EXPECT_GT(from_options("profile=private")->negative_ttl, from_options("")->negative_ttl);
}

TEST(Config, BackslashKeepsACommaInAValue) {
  EXPECT_EQ(from_options("cache_dir=/a\\,b,ro")->cache_dir, "/a,b");
}

TEST(Config, FstabFlagsAreTakenAndKernelFlagsPassedOn) {
  const auto config = from_options(
      "defaults,noauto,nofail,_netdev,x-systemd.automount,x-gvfs-show,comment=x,rw,relatime,"
      "nodiratime,nouser,nosuid,nodev,noexec,noatime,sync");
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_FALSE(config->read_only);
  EXPECT_THAT(config->kernel_flags.words(),
              ElementsAre("nosuid", "nodev", "noexec", "noatime", "sync"));
}

TEST(Config, OfAKernelFlagAndItsOppositeTheLaterCounts) {
  const auto flags = [](const std::string& options) { return from_options(options)->kernel_flags; };
  EXPECT_THAT(flags("nosuid,suid,nodev").words(), ElementsAre("suid", "nodev"));
  EXPECT_THAT(flags("suid,nosuid").words(), ElementsAre("nosuid"));
  EXPECT_THAT(flags("noexec,noatime,sync,exec,atime,async").words(), ElementsAre());
}

// mount(8): "This option implies the options noexec, nosuid, and nodev (unless overridden ...)".
TEST(Config, WhatUsersMayMountHasNoRightsOfItsOwn) {
  const auto words = [](const std::string& options) {
    return from_options(options)->kernel_flags.words();
  };
  for (const char* name : {"user", "users", "user=somebody"})
    EXPECT_THAT(words(name), ElementsAre("nosuid", "nodev", "noexec")) << name;
  for (const char* name : {"owner", "group"})
    EXPECT_THAT(words(name), ElementsAre("nosuid", "nodev")) << name;
  EXPECT_THAT(words("user,exec,dev"), ElementsAre("nosuid", "dev"));
}

TEST(Config, FlagsThatNobodyCanHonourAreRefusedByName) {
  for (const std::string name :
       {"strictatime", "lazytime", "dirsync", "mand", "iversion", "nosymfollow"})
    EXPECT_THAT(error_of("size=1G," + name), StartsWith("-o: " + name + " is not possible: "));
  EXPECT_EQ(error_of("nosuid=perhaps"), "-o: bad value 'perhaps' for nosuid: accepted: on or off");
}

TEST(Config, KernelFlagsStandInTheFile) {
  const auto config = from_ini("[mount]\nnosuid = on\nexec = off\ndev = yes\nrw = on\n");
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_THAT(config->kernel_flags.words(), ElementsAre("nosuid", "noexec", "dev"));
  EXPECT_FALSE(config->read_only);
  EXPECT_TRUE(from_ini("rw = off\n")->read_only);
}

// The effective configuration could not be read back.
TEST(Config, ValuesOfSeveralLinesAreRefused) {
  EXPECT_THAT(error_of("log_file=/a\nsize=1G"),
              HasSubstr("for log_file: accepted: an absolute path"));
  EXPECT_THAT(error_of("cache_dir=/a\r"), HasSubstr("for cache_dir"));
  EXPECT_THAT(error_of("control_dir=a\nb"), HasSubstr("for control_dir"));
}

TEST(Config, UnknownKeysAreRefusedByName) {
  EXPECT_EQ(error_of("cache_dri=/x"),
            "-o: unknown key 'cache_dri' (value '/x'): did you mean 'cache_dir'?");
  EXPECT_THAT(error_of("colour=blue"),
              AllOf(HasSubstr("unknown key 'colour' (value 'blue'): the keys are cache_dir, size"),
                    Not(HasSubstr("\n"))));
}

TEST(Config, EveryKeyRefusesABadValueByName) {
  for (const Key& key : keys()) {
    const std::string bad = std::string(key.name) + "=no/such value";
    EXPECT_EQ(error_of(bad), "-o: bad value 'no/such value' for " + std::string(key.name) +
                                 ": accepted: " + accepted_values(key));
  }
}

TEST(Config, ValuesOutsideTheirRangeAreRefused) {
  EXPECT_EQ(error_of("block_size=2K"),
            "-o: bad value '2K' for block_size: accepted: 4K to 1M, a power of two (K, M, G, T)");
  for (const char* text :
       {"block_size=2M", "block_size=96K", "size=1M", "size=0%", "source_threads=0",
        "descriptors=255", "threads=257", "source_timeout=1ms", "cache_dir=relative",
        "control_dir=..", "control_dir=", "memory=2T", "attr_ttl=8761h", "compact_at=5%",
        "compact_at=95%", "compact_at=50"})
    EXPECT_THAT(error_of(text), HasSubstr("bad value")) << text;
}

TEST(Config, ATimeWithoutItsUnitIsToldSo) {
  EXPECT_EQ(error_of("attr_ttl=5"),
            "-o: bad value '5' for attr_ttl: the unit is missing (5s?): accepted: 0 to 8760h (ms, "
            "s, m, h)");
  EXPECT_THAT(error_of("attr_ttl=5x"), Not(HasSubstr("unit")));
  EXPECT_THAT(error_of("source_threads=0"), Not(HasSubstr("unit")));
}

TEST(Config, EveryPolicyOfTheRegistryCanBeChosen) {
  for (const std::string_view name : evict::policy_names())
    EXPECT_EQ(from_options(fmt::format("policy={}", name))->policy, name);
  EXPECT_THAT(error_of("policy=mru"), HasSubstr("accepted: lru, lfu, ttl, hybrid"));
  EXPECT_EQ(from_options("ttl=0")->ttl, Nanos(0));
  EXPECT_EQ(error_of("ttl=900ms"),
            "-o: bad value '900ms' for ttl: accepted: 0, or 1s to 8760h (ms, s, m, h)");
}

TEST(Config, DescriptorsAreSharedOutBetweenLarderAndFiles) {
  const auto shared = [](std::string_view options, uint64_t allowed) {
    return descriptors_for_files(*from_options(options), allowed);
  };
  // 128, 3 for each call to the source and 2 for each FUSE worker are larder's own.
  EXPECT_EQ(*shared("source_threads=8,threads=2", 1024), 1024U - 156);
  EXPECT_EQ(*shared("source_threads=8,threads=2,descriptors=256", 1024), 100U);
  EXPECT_EQ(shared("descriptors=2000", 1024).error().detail(),
            "descriptors=2000 is more than the 1024 this process may have open; raise `ulimit "
            "-Hn` or give less");
  EXPECT_EQ(shared("threads=2,descriptors=300", 1024).error().detail(),
            "descriptors=300 leaves too few for files; give at least 388, or fewer "
            "source_threads");
  EXPECT_EQ(shared("threads=2", 387).error().detail(),
            "this process may have only 387 files open; raise `ulimit -Hn` to at least 388, or "
            "give fewer source_threads");
  EXPECT_TRUE(shared("threads=2", 388));
}

TEST(Config, AKeyThatNeedsAValueSaysSo) {
  EXPECT_THAT(error_of("size"), HasSubstr("-o: size needs a value: size=a size of at least 16M"));
}

TEST(Ini, SectionsCommentsAndIndentation) {
  const auto settings =
      parse_ini("# larder\nsize = 1G\n[mount]\n  memory = 32M ; small\nro = on\n", "f");
  ASSERT_TRUE(settings);
  const auto config = make_config(*settings);
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_EQ(config->size.bytes, 1u << 30);
  EXPECT_EQ(config->memory_bytes, 32u << 20);
  EXPECT_TRUE(config->read_only);
  EXPECT_EQ(effective(*config, "memory").origin, "f:4");
}

TEST(Ini, ErrorsNameFileAndLine) {
  EXPECT_EQ(ini_error("size = 1G\n\nsizee = 2G\n"),
            "larder.ini:3: unknown key 'sizee' (value '2G'): did you mean 'size'?");
  EXPECT_EQ(ini_error("[mount]\nio = fast\n"),
            "larder.ini:2: bad value 'fast' for io: accepted: auto, uring, threads");
  EXPECT_EQ(ini_error("size = 1G\nwhat is this\n"),
            "larder.ini:2: expected KEY = VALUE, [SECTION] or a comment");
  EXPECT_THAT(ini_error("a\n" + std::string(5000, 'x')),
              HasSubstr("larder.ini:2: the line is longer than"));
}

// Its keys would go unread.
TEST(Ini, AnUnknownSectionIsRefusedByName) {
  EXPECT_EQ(ini_error("[Mount]\nsize = 1G\n"),
            "larder.ini:1: unknown section '[Mount]': did you mean [mount]? the sections are "
            "[mount] and [rule PATTERN]");
  EXPECT_EQ(ini_error("size = 1G\n[rules *.iso] ; of images\nadmit = never\n"),
            "larder.ini:2: unknown section '[rules *.iso]': did you mean [rule PATTERN]? the "
            "sections are [mount] and [rule PATTERN]");
  EXPECT_EQ(ini_error("[other]"),
            "larder.ini:1: unknown section '[other]': the sections are [mount] and [rule PATTERN]");
  EXPECT_EQ(ini_error("[]\n"),
            "larder.ini:1: unknown section '[]': the sections are [mount] and [rule PATTERN]");
}

TEST(Ini, AFileThatCannotBeReadIsNamed) {
  const auto missing = read_ini_file("/nonexistent/larder.ini");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().detail(),
            "/nonexistent/larder.ini: cannot be read: No such file or directory");
  const auto directory = read_ini_file("/");
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().detail(), "/: cannot be read: Is a directory");
}

TEST(Ini, OptionsWinOverTheFile) {
  auto settings = *parse_ini("size = 1G\nmemory = 1M\n", "f");
  const auto options = *parse_options("size=2G");
  settings.insert(settings.end(), options.begin(), options.end());
  const auto config = make_config(settings);
  EXPECT_EQ(config->size.bytes, 2ULL << 30);
  EXPECT_EQ(config->memory_bytes, 1u << 20);
}

TEST(Ini, RenderedConfigReadsBackTheSame) {
  const auto config = from_options("profile=private,size=50%,cache_dir=/c,ro,user,exec,sync");
  const std::string text = render_config(*config);
  EXPECT_THAT(text,
              AllOf(HasSubstr("size = 50% ; -o\n"), HasSubstr("attr_ttl = 1h ; profile=private\n"),
                    HasSubstr("memory = 256M ; default\n")));
  const auto again = make_config(*parse_ini(text, "f"));
  ASSERT_TRUE(again) << again.error().detail();
  for (const Setting& setting : config->effective)
    EXPECT_EQ(effective(*again, setting.key).value, setting.value) << setting.key;
  EXPECT_THAT(again->kernel_flags.words(), ElementsAre("nosuid", "nodev", "sync"));
}

TEST(Ini, RulesSayWhatIsWantedOfSomeFiles) {
  const auto settings = parse_ini(
      "size = 1G\n[rule *.iso]\nadmit = never\n[rule tmp/ ] ; short-lived\n ttl = 1h\npriority = "
      "low\n"
      "[mount]\nmemory = 1M\n[rule [a-c]*]\npin = yes\n",
      "f");
  ASSERT_TRUE(settings) << settings.error().detail();
  const auto config = make_config(*settings);
  ASSERT_TRUE(config) << config.error().detail();
  EXPECT_EQ(config->memory_bytes, 1u << 20);
  EXPECT_FALSE(config->rules.match("x/y.iso").admit);
  EXPECT_EQ(config->rules.match("x/tmp/z").ttl, std::chrono::hours(1));
  EXPECT_EQ(config->rules.match("x/tmp/z").priority, cache::Priority::kLow);
  EXPECT_EQ(config->rules.match("bc").priority, cache::Priority::kPinned);
  EXPECT_EQ(config->rules.match("x").priority, cache::Priority::kNormal);

  const std::string text = render_config(*config);
  EXPECT_THAT(text, AllOf(HasSubstr("[rule *.iso] ; f:2\nadmit = never ; f:3\n"),
                          HasSubstr("[rule [a-c]*] ; f:9\npin = yes ; f:10\n")));
  const auto again = make_config(*parse_ini(text, "g"));
  ASSERT_TRUE(again) << again.error().detail();
  EXPECT_EQ(again->rules.match("bc").priority, cache::Priority::kPinned);
  EXPECT_EQ(again->rules.match("x/tmp/z").ttl, std::chrono::hours(1));
}

TEST(Ini, BadRulesAreRefusedByName) {
  EXPECT_EQ(ini_error("[rule *.iso]\nadmti = never\n"),
            "larder.ini:2: unknown key 'admti' in [rule *.iso]: did you mean 'admit'?");
  EXPECT_EQ(
      ini_error("[rule *.iso]\ncolour = blue\n"),
      "larder.ini:2: unknown key 'colour' in [rule *.iso]: the keys are admit, ttl, priority, pin");
  EXPECT_EQ(ini_error("[rule *.iso]\nadmit = maybe\n"),
            "larder.ini:2: bad value 'maybe' for admit in [rule *.iso]: accepted: always, never");
  EXPECT_EQ(ini_error("[rule a]\nttl = 5\n"),
            "larder.ini:2: bad value '5' for ttl in [rule a]: the unit is missing (5s?): accepted: "
            "0, or 1s "
            "to 8760h (ms, s, m, h)");
  EXPECT_THAT(ini_error("[rule a]\npriority = top\n"), HasSubstr("accepted: low, normal, high"));
  EXPECT_THAT(ini_error("[rule a]\npin = perhaps\n"), HasSubstr("accepted: yes or no"));
  EXPECT_THAT(ini_error("[rule [a]\npin = yes\n"),
              HasSubstr("larder.ini:1: bad pattern in [rule [a]: a '[' is not closed"));
  EXPECT_THAT(ini_error("[rule " + std::string(300, 'a') + "]\n"), HasSubstr("longer than 255"));
  EXPECT_THAT(ini_error("[rule]\npin = yes\n"), HasSubstr("larder.ini:1: bad pattern"));
  std::string many;
  for (int i = 0; i < 257; ++i) many += "[rule a]\n";
  EXPECT_EQ(ini_error(many), "larder.ini:257: [rule a] is one too many: 256 are accepted");
}

TEST(Keys, HelpShowsEveryKeyWithItsValues) {
  const std::string help = keys_help();
  for (const Key& key : keys())
    EXPECT_THAT(help,
                AllOf(HasSubstr(key.name), HasSubstr(accepted_values(key)), HasSubstr(key.help)));
}

TEST(Keys, NearMissesAreFoundAndFarOnesNot) {
  EXPECT_EQ(nearest_key("memroy"), "memory");
  EXPECT_EQ(nearest_key("attr-ttl"), "attr_ttl");
  EXPECT_EQ(nearest_key("passthru"), "");
  EXPECT_EQ(nearest_key("colour"), "");
}

}  // namespace
}  // namespace larder::app
