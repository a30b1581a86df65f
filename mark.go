package omca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"omca/internal/home"
	"omca/internal/registry"
	"omca/internal/store"
)

// markPause is how long what was written may be missing in the mark.
const markPause = 5 * time.Second

// maxMark bounds the file of a mark, in bytes.
const maxMark = 1 << 20

// A marker keeps the mark of the store in a file outside of the home: a home that is put
// back from a copy is older than its mark.
type marker struct {
	file string

	mu         sync.Mutex
	remembered registry.Mark
	err        error // why the mark is not kept; nil while it is
}

// markFile is the file of the mark: beside the home unless the configuration names another.
func (c Config) markFile() string {
	if c.Mark != "" {
		return c.Mark
	}
	return filepath.Clean(c.Home) + ".mark"
}

// readMark reads a mark; the zero Mark when there is none.
func readMark(file string) (m registry.Mark, err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, maxMark+1))
	if err == nil && len(text) > maxMark {
		err = fmt.Errorf("more than %d bytes", maxMark)
	}
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		return registry.Mark{}, fmt.Errorf("mark %s: %w", file, err)
	}
	return m, nil
}

// checkMark compares the store with its mark, and with what is counted in itself. Nothing
// is written into a store that was set back until that is accepted: see [Server.acceptSetBack].
func (s *Server) checkMark(ctx context.Context) error {
	s.mark.file = s.config.markFile()
	remembered, err := readMark(s.mark.file)
	if err != nil {
		s.config.Log.WarnContext(ctx, "mark not read: a store that was set back may not be noticed", "error", err)
	}
	s.mark.remembered = remembered
	reasons, now, err := s.setBack(ctx)
	if errors.Is(err, store.ErrAway) {
		s.config.Log.WarnContext(ctx, "store not compared with its mark yet", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	if remembered.ClusterID != "" && now.ClusterID != "" && remembered.ClusterID != now.ClusterID {
		s.config.Log.WarnContext(ctx, "mark of another cluster replaced", "file", s.mark.file, "of", remembered.ClusterID)
	}
	s.refuse(ctx, reasons)
	return nil
}

// setBack returns in which ways the store is not what was written last.
func (s *Server) setBack(ctx context.Context) (reasons []string, now registry.Mark, err error) {
	if now, err = s.objects.MarkNow(ctx); err != nil {
		return nil, now, err
	}
	miscounts, err := s.objects.Miscounts(ctx)
	if err != nil {
		return nil, now, err
	}
	for _, m := range miscounts {
		reasons = append(reasons, m.String())
	}
	return append(reasons, now.Behind(s.mark.known())...), now, nil
}

// refuse has the store take nothing for the reasons, or take all when there are none.
func (s *Server) refuse(ctx context.Context, reasons []string) {
	before := s.objects.Refusal()
	s.objects.Refuse(reasons)
	switch {
	case len(reasons) > 0 && before == nil:
		s.config.Log.ErrorContext(ctx, "store was set back: nothing is signed, revoked or published", "reasons", strings.Join(reasons, "; "))
	case len(reasons) == 0 && before != nil:
		s.config.Log.InfoContext(ctx, "store is what was written last: signing goes on")
	}
}

func (m *marker) known() registry.Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.remembered
}

// keepMarks keeps the mark until ctx is done.
func (s *Server) keepMarks(ctx context.Context) {
	for seen := int64(0); ctx.Err() == nil; {
		// What is committed together is remembered together.
		timer := time.NewTimer(markPause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		rev, err := s.objects.Changed(ctx, seen)
		if err == nil {
			seen = rev
			err = s.keepMark(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.config.Log.DebugContext(ctx, "mark not kept", "error", err)
		}
	}
}

// keepMark writes the mark when the store has changed. A store that has become older than
// its mark is refused from then on, and one whose being set back another node has accepted
// is not any more.
func (s *Server) keepMark(ctx context.Context) error {
	now, err := s.objects.MarkNow(ctx)
	if err != nil || now.ClusterID == "" {
		return err
	}
	remembered := s.mark.known()
	if now.Equal(remembered) && s.objects.Refusal() == nil {
		return nil
	}
	if s.objects.Refusal() != nil || len(now.Behind(remembered)) > 0 {
		reasons, _, err := s.setBack(ctx)
		if err != nil {
			return err
		}
		if s.refuse(ctx, reasons); len(reasons) > 0 {
			return nil
		}
	}
	return s.mark.write(now.Above(remembered))
}

func (m *marker) write(next registry.Mark) error {
	text, err := json.Marshal(next)
	if err == nil {
		err = home.Replace(m.file, newFile, append(text, '\n'))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err = err; err == nil {
		m.remembered = next
	}
	return err
}

// Unmarked returns why the mark is not kept; nil while it is.
func (m *marker) unmarked() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

// acceptSetBack takes the store as it is for whole, with numbers that go on above the mark,
// and returns what was not as it was written; nothing when all was.
func (s *Server) acceptSetBack(ctx context.Context) ([]string, error) {
	reasons, _, err := s.setBack(ctx)
	if err != nil || len(reasons) == 0 {
		return nil, err
	}
	if err := s.objects.AcceptSetBack(ctx, s.mark.known()); err != nil {
		return nil, err
	}
	now, err := s.objects.MarkNow(ctx)
	if err != nil {
		return nil, err
	}
	s.refuse(ctx, nil)
	s.config.Log.WarnContext(ctx, "store that was set back accepted as it is", "reasons", strings.Join(reasons, "; "))
	if err := s.mark.write(now); err != nil {
		return reasons, fmt.Errorf("accepted, but the mark was not written: %w", err)
	}
	s.publisher.Reload()
	return reasons, nil
}
