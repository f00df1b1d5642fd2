#include "app/commands.h"

int main(int argc, char** argv) {
  return larder::app::run_command_line(argc, argv);
}
