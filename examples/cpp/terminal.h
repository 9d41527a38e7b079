// Our terminal.
#pragma once

#include <termios.h>

#include "remex/v1/exec.pb.h"

// While there is one, every key is passed on, Ctrl-C too: the command's terminal sees to them.
class RawTerminal {
 public:
  RawTerminal();
  ~RawTerminal();
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios before_;
};

remex::v1::WindowSize GetWindowSize();
