package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"github.com/rogpeppe/go-internal/testscript"

	"omca/internal/client"
	"omca/internal/interop/lab"
	"omca/internal/openid/openidtest"
)

func TestMain(m *testing.M) {
	command := func() { os.Exit(run()) }
	testscript.Main(m, map[string]func(){"omca": command, "om": command, flockerName: command, cockpitName: command, generatorName: command, converterName: command})
}

// readyTime bounds how long a daemon of a script may take to serve.
const readyTime = 20 * time.Second

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("OMCA_TEST_UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			// A unix socket's path is short, and the one of a script's directory is not.
			home, err := os.MkdirTemp("", "omca")
			env.Defer(func() {
				if err := os.RemoveAll(home); err != nil {
					t.Error(err)
				}
			})
			env.Values[running{}] = &running{}
			env.Setenv("OMCA_HOME", home)
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_RUNTIME_DIR", "")
			env.Setenv("NO_COLOR", "")
			return err
		},
		Condition: condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fake":      fake,
			"daemon":    startDaemon,
			"status":    exitStatus,
			"terminate": terminate,
			"port":      freePort,
			"told":      told,
			"seen":      seen,
			"issuer":    (&issuers{all: map[*testscript.TestScript]*openidtest.Issuer{}}).command,
		},
	})
}

// condition tells whether a program is here. One that OMCA_TEST_REQUIRE names must be.
func condition(name string) (bool, error) {
	program, ok := strings.CutPrefix(name, "has:")
	if !ok {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	_, err := exec.LookPath(program)
	if err != nil && slices.Contains(strings.Split(os.Getenv("OMCA_TEST_REQUIRE"), ","), program) {
		return false, fmt.Errorf("OMCA_TEST_REQUIRE names %s: %w", program, err)
	}
	return err == nil, nil
}

// exitStatus is "status N COMMAND …": the command must end with status N, and with nothing on stdout when N is not 0.
func exitStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		// ts.Exec keeps what the process was to itself, but its error is that of os/exec.
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
	if stdout := ts.ReadFile("stdout"); want != 0 && stdout != "" {
		ts.Fatalf("stdout of a command that failed: %q", stdout)
	}
}

// fake is "fake ANSWERS": a server on the daemon's socket that answers as the file says, one "METHOD URI STATUS BODY" a line, and
// writes what it is asked to the file "requests".
func fake(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fake ANSWERS")
	}
	type answer struct {
		status int
		body   string
	}
	answers := map[string]answer{"GET /healthz": {200, `{"status":"ok"}`}}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) < 3 {
			continue
		}
		status, err := strconv.Atoi(parts[2])
		ts.Check(err)
		answers[parts[0]+" "+parts[1]] = answer{status, strings.Join(parts[3:], "")}
	}
	requests, err := os.Create(ts.MkAbs("requests"))
	ts.Check(err)
	var mu sync.Mutex
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if r.URL.Path != "/healthz" {
			mu.Lock()
			defer mu.Unlock()
			uri, _ := url.QueryUnescape(r.URL.RequestURI())
			asked := fmt.Sprintf("%s %s %s", r.Method, uri, strings.ReplaceAll(string(body), "\n", "%0A"))
			fmt.Fprintln(requests, strings.TrimSpace(asked))
		}
		a, ok := answers[r.Method+" "+r.URL.RequestURI()]
		if !ok {
			a = answer{404, `{"title":"Not Found","status":404,"detail":"the script has no answer"}`}
		}
		if text, ok := strings.CutPrefix(a.body, "NOTICE "); ok {
			w.Header().Set("Omca-Notice", text)
			a.body = "{}"
		}
		a.body = strings.ReplaceAll(a.body, "%0A", "\n")
		if a.status > 299 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		w.WriteHeader(a.status)
		fmt.Fprint(w, a.body)
	})
	listener, err := net.Listen("unix", filepath.Join(ts.Getenv("OMCA_HOME"), socketName))
	ts.Check(err)
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	go server.Serve(listener) // ends with the script
	ts.Defer(func() {
		server.Close()   // ends with the script
		requests.Close() // ends with the script
	})
}

// startDaemon is "daemon [FLAGS]": a daemon on a free port of the loopback, which it puts into $SERVER as a URL, ready to serve.
// Its stderr goes to the file "daemon.log". It is stopped when the script ends.
func startDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: daemon [FLAGS]")
	}
	home := ts.Getenv("OMCA_HOME")
	log, err := os.Create(ts.MkAbs("daemon.log"))
	ts.Check(err)
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(home, fmt.Sprintf("notify.%d", time.Now().UnixNano())), Net: "unixgram"})
	ts.Check(err)
	path, err := exec.LookPath("omca")
	ts.Check(err)
	cmd := exec.Command(path, append([]string{"daemon", "run", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), "OMCA_HOME="+home, "HOME="+ts.Getenv("HOME"), "NOTIFY_SOCKET="+manager.LocalAddr().String(),
		"SSL_CERT_FILE="+ts.Getenv("SSL_CERT_FILE"))
	cmd.Stderr = log
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait() // its status is in cmd.ProcessState
	}()
	*ts.Value(running{}).(*running) = running{cmd, manager, ended}
	ts.Defer(func() {
		cmd.Process.Kill() // it may have ended
		<-ended
		manager.Close() // nothing was written
		log.Close()     // written by the daemon
	})
	if got := notified(manager); got != "READY=1" {
		ts.Fatalf("the service manager was told %q, want READY=1: %s", got, ts.ReadFile("daemon.log"))
	}
	cl, err := client.New(client.Config{Transport: client.Unix(filepath.Join(home, socketName))})
	ts.Check(err)
	ts.Defer(func() {
		// Whoever serves now, which after a restart is another process.
		ctx, cancel := context.WithTimeout(context.Background(), readyTime)
		defer cancel()
		cl.Stop(ctx) // it may have ended
	})
	status, err := cl.Status(context.Background())
	ts.Check(err)
	ts.Setenv("SERVER", "https://"+status.Addresses[0])
}

// told is "told PATTERN …": what the service manager was told next, one message for each pattern.
func told(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: told PATTERN …")
	}
	for _, pattern := range args {
		got := notified(ts.Value(running{}).(*running).manager)
		if !regexp.MustCompile("^(?:" + pattern + ")$").MatchString(got) {
			ts.Fatalf("the service manager was told %q, want %q", got, pattern)
		}
	}
}

// seen is "seen": of what the last command wrote, every character is one that can be seen.
func seen(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 0 {
		ts.Fatalf("usage: seen")
	}
	for _, name := range []string{"stdout", "stderr"} {
		for i, r := range ts.ReadFile(name) {
			if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
				ts.Fatalf("octet %d of %s begins %U", i, name, r)
			}
		}
	}
}

// notified is what a service manager was told next.
func notified(manager *net.UnixConn) string {
	text := make([]byte, 100)
	if err := manager.SetReadDeadline(time.Now().Add(readyTime)); err != nil {
		return err.Error()
	}
	n, err := manager.Read(text)
	if err != nil {
		return err.Error()
	}
	return string(text[:n])
}

// running is the daemon of a script.
type running struct {
	cmd     *exec.Cmd
	manager *net.UnixConn // that it tells about itself
	ended   <-chan struct{}
}

// freePort is "port": a port of the loopback that nobody listens on, in $PORT.
func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: port")
	}
	port, err := lab.PickPort()
	ts.Check(err)
	ts.Setenv("PORT", port)
}

// terminate is "terminate TERM|INT": the daemon is sent the signal, and must end with status 0.
func terminate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: terminate TERM|INT")
	}
	daemon := ts.Value(running{}).(*running)
	signal := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": os.Interrupt}[args[0]]
	ts.Check(daemon.cmd.Process.Signal(signal))
	if got := notified(daemon.manager); got != "STOPPING=1" {
		ts.Fatalf("the service manager was told %q, want STOPPING=1", got)
	}
	select {
	case <-daemon.ended:
	case <-time.After(readyTime):
		ts.Fatalf("the daemon runs on %s after SIG%s", readyTime, args[0])
	}
	if status := daemon.cmd.ProcessState.ExitCode(); status != 0 {
		ts.Fatalf("the daemon ended with status %d: %s", status, ts.ReadFile("daemon.log"))
	}
}
