#include "app/commands.h"
#include "app/standard_streams.h"

int main(int argc, char** argv) {
  larder::app::open_standard_streams();
  return larder::app::finish_output(larder::app::run_command_line(argc, argv));
}
