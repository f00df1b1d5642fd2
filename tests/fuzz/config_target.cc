// Options, INI files, values, and the small text files of a cache directory.
#include "app/cache_directory.h"
#include "app/config.h"
#include "app/source_root.h"
#include "app/values.h"
#include "base/check.h"
#include "fuzz/target.h"

namespace larder::fuzz {

using namespace app;

void run(std::string_view input) {
  for (auto settings : {parse_options(input), parse_ini(input, "input")}) {
    if (!settings) {
      CHECK(!settings.error().detail().empty());
      continue;
    }
    const auto config = make_config(*settings);
    if (!config) continue;
    // Not all that -o takes can be said in an INI file (a newline in a path).
    (void)parse_ini(render_config(*config), "rendered");
  }
  if (const auto size = parse_size(input)) CHECK(parse_size(format_size(*size)) == *size);
  if (const auto time = parse_duration(input))
    CHECK(parse_duration(format_duration(*time)) == *time);
  (void)parse_count(input);
  (void)parse_switch(input);
  (void)parse_size_limit(input);
  if (const auto source = parse_mark(input)) CHECK(!source->empty());
  if (const auto root = parse_root(input)) CHECK(parse_root(format_root(*root)) == root);
}

std::vector<std::string> seeds() {
  return {"cache_dir=/ssd/a\\,b,size=50G,ro,nosuid",
          "[mount]\nsize = 20%\nattr_ttl = 5s ; why\n[other]\nx = y\n",
          "128K",
          "250ms",
          "20%",
          "larder cache 1\n/net/photos\n",
          "larder cache 2\n/net/photos\n",
          "larder root 1 ef53 1234 mounted\n"};
}

}  // namespace larder::fuzz
