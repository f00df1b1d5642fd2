// "Did you mean ...?"
#pragma once

#include <span>
#include <string_view>

namespace larder::app {

// The word that a mistyped one may have meant; empty when none is near.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> words);

}  // namespace larder::app
