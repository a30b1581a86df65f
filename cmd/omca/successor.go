package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A daemon that restarts starts its successor, which is the program as it is on the disk now, and gives it the listening sockets and
// one channel. What is said there, a line each:
//
//	successor: prepared       it has found what it can without the store, which one process has at a time
//	daemon:    serve          it has drained and closed the store
//	successor: serving        and the daemon ends
//	successor: failed WHY     in place of either of its lines, and the daemon serves on
//
// Who connects meanwhile waits for whoever accepts next. The channel ends with its process: a successor that has not been told to
// serve by then ends, too.
const (
	linePrepared = "prepared"
	lineServe    = "serve"
	lineServing  = "serving"
	lineFailed   = "failed "

	// successorVariable says, in the environment of a successor, what the sockets from the file descriptor 5 on are: NAME=ADDRESS,
	// separated by spaces.
	successorVariable = "OMCA_SUCCESSOR"
	firstSocket       = 5 // 3 and 4 are the channel

	prepareTime = 10 * time.Second
	endTime     = 5 * time.Second
	serveTime   = time.Minute // it opens the store and asks for the revocation lists of others
)

// socket is a listening socket that a daemon leaves to its successor.
type socket struct {
	name, address string
	file          *os.File
}

// successor is the process that follows, as the daemon sees it.
type successor struct {
	cmd   *exec.Cmd
	tell  io.WriteCloser
	heard chan string   // its lines; closed when the channel is
	ended chan struct{} // closed when the process has
}

// startSuccessor starts the process that follows, and waits until it is prepared. Its error says why it is not; nothing is left of
// it then.
func startSuccessor(program string, args, environment []string, sockets []socket) (*successor, error) {
	heard, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	told, tell, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, heard.Close(), theirs.Close())
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{told, theirs}
	var names []string
	for _, k := range sockets {
		cmd.ExtraFiles = append(cmd.ExtraFiles, k.file)
		names = append(names, k.name+"="+k.address)
	}
	cmd.Env = slices.DeleteFunc(slices.Clone(environment), func(v string) bool { return strings.HasPrefix(v, successorVariable+"=") })
	cmd.Env = append(cmd.Env, successorVariable+"="+strings.Join(names, " "))
	err = cmd.Start()
	err = errors.Join(err, told.Close(), theirs.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", program, err), heard.Close(), tell.Close())
	}
	s := &successor{cmd: cmd, tell: tell, heard: make(chan string), ended: make(chan struct{})}
	go s.listen(heard)
	if err := s.expect(context.Background(), linePrepared, prepareTime); err != nil {
		return nil, err
	}
	return s, nil
}

// listen brings the lines, then the end of the process.
func (s *successor) listen(heard *os.File) {
	lines := bufio.NewScanner(heard)
	for lines.Scan() {
		s.heard <- lines.Text()
	}
	close(s.heard)
	_ = heard.Close() // read to its end
	_ = s.cmd.Wait()  // its channel has said how it went
	close(s.ended)
}

// expect waits for a line. When another one comes, or none, the successor is ended, and the error says why.
func (s *successor) expect(ctx context.Context, line string, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	var err error
	select {
	case got, ok := <-s.heard:
		switch why, failed := strings.CutPrefix(got, lineFailed); {
		case ok && got == line:
			return nil
		case failed:
			err = fmt.Errorf("the successor failed: %s", why)
		case !ok:
			err = errors.New("the successor ended without a word")
		default:
			err = fmt.Errorf("the successor said %q, expected %q", got, line)
		}
	case <-timer.C:
		err = fmt.Errorf("the successor was not %s within %s", line, patience)
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.end()
	return err
}

// serve has the successor take the store and serve, and waits until it does.
func (s *successor) serve(ctx context.Context) error {
	if _, err := io.WriteString(s.tell, lineServe+"\n"); err != nil {
		s.end()
		return fmt.Errorf("the successor does not listen: %w", err)
	}
	return s.expect(ctx, lineServing, serveTime)
}

// end ends the successor, and returns when it has ended, so that the store is free.
func (s *successor) end() {
	_ = s.tell.Close()                        // not told to serve, it ends by itself
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	late := time.AfterFunc(endTime, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	for range s.heard { // what it said last
		continue
	}
	<-s.ended
}

// inheritance is what a successor was given.
type inheritance struct {
	sockets []socket
	told    *os.File
	tell    *os.File
}

// inherit returns what this process was given by the daemon that it follows, nil when it follows none.
func inherit(variable string) (*inheritance, error) {
	if variable == "" {
		return nil, nil
	}
	h := &inheritance{told: os.NewFile(3, "from the daemon"), tell: os.NewFile(4, "to the daemon")}
	for i, text := range strings.Fields(variable) {
		name, address, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("%s: %q is not NAME=ADDRESS", successorVariable, text)
		}
		h.sockets = append(h.sockets, socket{name, address, os.NewFile(uintptr(firstSocket+i), name)})
	}
	return h, nil
}

// prepared says so, and waits until the store is free. It is an error when the daemon ends instead.
func (h *inheritance) prepared(ctx context.Context) error {
	if _, err := fmt.Fprintln(h.tell, linePrepared); err != nil {
		return err
	}
	line := make(chan error, 1)
	go func() {
		text, err := bufio.NewReader(h.told).ReadString('\n')
		if err == nil && text != lineServe+"\n" {
			err = fmt.Errorf("told %q, expected %q", text, lineServe)
		}
		line <- err
	}()
	select {
	case err := <-line:
		if errors.Is(err, io.EOF) {
			return errors.New("the daemon did not leave")
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serving tells the daemon that it may end.
func (h *inheritance) serving() error {
	_, err := fmt.Fprintln(h.tell, lineServing)
	return errors.Join(err, h.tell.Close(), h.told.Close())
}

// failed tells the daemon why it has to serve on.
func (h *inheritance) failed(err error) {
	_, _ = fmt.Fprintf(h.tell, "%s%s\n", lineFailed, strings.ReplaceAll(err.Error(), "\n", "; ")) // the daemon sees the end of the channel otherwise
}

// findProgram returns the file that the process was started from, absolute: with another one in its place, that is what the successor
// runs. A name without a directory is looked for as the shell has.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}
