#include "terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

RawTerminal::RawTerminal() {
  tcgetattr(STDIN_FILENO, &before_);
  termios raw = before_;
  cfmakeraw(&raw);
  tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
}

RawTerminal::~RawTerminal() { tcsetattr(STDIN_FILENO, TCSADRAIN, &before_); }

remex::v1::WindowSize GetWindowSize() {
  winsize size{};
  ioctl(STDIN_FILENO, TIOCGWINSZ, &size);
  remex::v1::WindowSize message;
  message.set_rows(size.ws_row);
  message.set_columns(size.ws_col);
  return message;
}
