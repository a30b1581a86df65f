package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
)

// The bounds of the log file of flocker-ca: as many files beside the one that is
// written to, FILE.1 being the latest.
const (
	logFileSize = 100 << 20 // bytes
	logFiles    = 5
)

// journalSocket is where systemd's journal takes entries in its own protocol.
const journalSocket = "/run/systemd/journal/socket"

// logFile is a file that makes room for itself when it is full.
type logFile struct {
	name string
	most int64
	file *os.File
	size int64
}

func openLogFile(name string) (*logFile, error) {
	l := &logFile{name: name, most: logFileSize}
	return l, l.open()
}

func (l *logFile) open() error {
	f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends a line, to a new file when the present one is full.
func (l *logFile) Write(line []byte) (int, error) {
	if l.size >= l.most {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return n, err
}

// rotate moves every file one further, the last one out.
func (l *logFile) rotate() error {
	if err := l.file.Close(); err != nil {
		return err
	}
	for i := logFiles - 1; i >= 0; i-- {
		from := l.name
		if i > 0 {
			from = fmt.Sprintf("%s.%d", l.name, i)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", l.name, i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.open()
}

// Close ends the file.
func (l *logFile) Close() error { return l.file.Close() }

// journal sends lines to systemd's journal.
type journal struct{ net.Conn }

func openJournal(socket string) (journal, error) {
	c, err := net.Dial("unixgram", socket)
	if err != nil {
		return journal{}, fmt.Errorf("the journal of systemd does not answer: %w", err)
	}
	return journal{c}, nil
}

// Write sends one entry: a line is what ends a field, and there is none inside.
func (j journal) Write(line []byte) (int, error) {
	text := strings.ReplaceAll(strings.TrimSpace(string(line)), "\n", " ")
	_, err := fmt.Fprintf(j.Conn, "SYSLOG_IDENTIFIER=%s\nPRIORITY=6\nMESSAGE=%s\n", flockerName, text)
	return len(line), err
}
