package main

import (
	"log/slog"
	"os"
	"path/filepath"
)

// auditName is the file in the home where commands without a daemon leave their audit trail. A daemon has its own log.
const auditName = "audit.log"

// auditLog appends to the file, which is opened when there is something to write: the home may not be there before.
func auditLog(home string) *slog.Logger {
	return slog.New(slog.NewJSONHandler(appender(filepath.Join(home, auditName)), nil))
}

// appender is the name of a file to append lines to.
type appender string

// Write appends one line. Lines are shorter than what the system writes at once, so those of two processes do not mix.
func (a appender) Write(line []byte) (int, error) {
	f, err := os.OpenFile(string(a), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := f.Write(line)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return n, err
}
