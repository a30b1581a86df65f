package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"sync"
	"time"

	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/store"
)

// A backup is a stream of frames: what the store held when it was read, page by
// page, and behind each page the changes seen since the one before. A change that
// stands before a page happened before the page was read, and every change to the
// very end is there: so doing one frame after another makes the store as it was
// at the last of them.
//
// It is not encrypted here, and holds the keys that open the sealed values.
const backupMagic = "OMCA-BACKUP-1\n"

const (
	keyBackup = "sys/backup" // when the last one was made

	frameMaster byte = 'm' // the master key that the keyring of this backup is wrapped by
	frameInfo   byte = 'i' // BackupInfo as JSON
	framePut    byte = 'p' // key, value
	frameDelete byte = 'd' // key
	frameReset  byte = 'r' // all that came before is to be forgotten
	frameEnd    byte = 'e' // number of the frames before it
)

// BackupInfo says what a backup is of.
type BackupInfo struct {
	Cluster   string    `json:"cluster"`
	ClusterID string    `json:"cluster_id"`
	At        time.Time `json:"at"` // when it was begun
}

// backupAttempts is how often a backup begins anew when the store is written to
// faster than it can follow.
const backupAttempts = 5

// Backup writes all that the store holds, as of the moment it returns, to w.
// Sessions of browsers are left out. Commits go on meanwhile.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	out := newFrameWriter(w)
	for n := 1; ; n++ {
		err := s.backup(ctx, out)
		switch {
		case err == nil:
			return out.end()
		case !errors.Is(err, store.ErrCompacted):
			return err
		case n == backupAttempts:
			return hint.With(fmt.Errorf("the store was written to faster than it could be read, %d times: %w", n, err), "repeat it at a quieter time")
		}
		if err := out.write(frameReset); err != nil {
			return err
		}
	}
}

// backup is one attempt. ErrCompacted: changes were missed.
func (s *Store) backup(ctx context.Context, out *frameWriter) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := s.backupHead(ctx, out); err != nil {
		return err
	}
	first, err := s.db.Rev(ctx)
	if err != nil {
		return err
	}
	mark, err := json.Marshal(backupMark{object.NewUUID(), s.now().UTC()})
	if err != nil {
		return err
	}
	changes := &spool{ended: make(chan struct{})}
	go func() {
		defer close(changes.ended)
		err := s.panics.Guard("backup", func() error { return changes.follow(s.db.Watch(ctx, "", first), mark) })
		if err != nil {
			cancel(fmt.Errorf("following the changes: %w", err)) // the pages are worth nothing without
		}
	}()
	err = s.backupPages(ctx, out, changes)
	if err == nil {
		_, err = s.db.Commit(ctx, store.Tx{Puts: []store.Put{{Key: keyBackup, Value: mark}}})
	}
	if err != nil {
		cancel(err)
	}
	if <-changes.ended; context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return changes.drain(out)
}

// backupMark is the value of keyBackup: the last change of a backup.
type backupMark struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

// LastBackup says when the last backup was made; zero when none ever was.
func (s *Store) LastBackup(ctx context.Context) (time.Time, error) {
	e, err := s.db.Get(ctx, keyBackup)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, err
	}
	var mark backupMark
	if err := json.Unmarshal(e.Value, &mark); err != nil {
		return time.Time{}, fmt.Errorf("reading %s: %w", keyBackup, err)
	}
	return mark.At, nil
}

func (s *Store) backupHead(ctx context.Context, out *frameWriter) error {
	e, err := s.entry(ctx, object.ClusterPath())
	if err != nil {
		return err
	}
	name, _ := e.Config.Get("cluster.name")
	id, _ := e.Config.Get("cluster.id")
	info, err := json.Marshal(BackupInfo{Cluster: name, ClusterID: id, At: s.now().UTC()})
	if err != nil {
		return err
	}
	var key [seal.KeySize]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	master, err := seal.NewFileMaster(key)
	if err != nil {
		return err
	}
	keys, err := s.format.known().keys.Rewrap(master)
	if err != nil {
		return err
	}
	wrapped, err := keys.Marshal()
	if err != nil {
		return err
	}
	return errors.Join(out.write(frameInfo, info), out.write(frameMaster, key[:]), out.write(framePut, []byte(keyKeyring), wrapped))
}

// left reports whether a key stays out of a backup.
func left(key string) bool {
	return key == keyKeyring || strings.HasPrefix(key, prefixSession) || strings.HasPrefix(key, prefixSessionOf) || strings.HasPrefix(key, prefixSum) || passing(key) || StaysBehind(key)
}

func (s *Store) backupPages(ctx context.Context, out *frameWriter, changes *spool) error {
	for r := (store.Range{}); ; {
		page, err := s.db.Scan(ctx, r)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := out.put(e.Key, e.Value); err != nil {
				return err
			}
			r.After = e.Key
		}
		if err := changes.drain(out); err != nil || !page.More {
			return err
		}
	}
}

// maxSpool bounds the changes that wait for a page to be written, in bytes.
const maxSpool = 64 << 20

// A spool keeps changes until the page before them is written.
type spool struct {
	ended chan struct{} // closed when follow has returned

	mu     sync.Mutex
	events []store.Event
	bytes  int
}

// follow keeps the changes up to the mark.
func (s *spool) follow(changes iter.Seq2[store.Change, error], mark []byte) error {
	for change, err := range changes {
		if err != nil {
			return err
		}
		for _, e := range change.Events {
			if e.Key == keyBackup && bytes.Equal(e.Value, mark) {
				return nil
			}
			if err := s.add(e); err != nil {
				return err
			}
		}
	}
	return errors.New("the watch ended")
}

func (s *spool) add(e store.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes += len(e.Key) + len(e.Value); s.bytes > maxSpool {
		return hint.With(fmt.Errorf("more than %d MB were written to the store while one page of it was read", maxSpool>>20),
			"write the backup to a faster disk, or at a quieter time")
	}
	s.events = append(s.events, e)
	return nil
}

// drain writes what has come together.
func (s *spool) drain(out *frameWriter) error {
	s.mu.Lock()
	events := s.events
	s.events, s.bytes = nil, 0
	s.mu.Unlock()
	for _, e := range events {
		var err error
		if e.Deleted {
			err = out.delete(e.Key)
		} else {
			err = out.put(e.Key, e.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// frameWriter writes frames.
type frameWriter struct {
	w      *bufio.Writer
	frames uint64
	err    error
}

func newFrameWriter(w io.Writer) *frameWriter {
	f := &frameWriter{w: bufio.NewWriterSize(w, 64<<10)}
	_, f.err = f.w.WriteString(backupMagic)
	return f
}

// write writes a frame: its kind, and each field behind its length.
func (f *frameWriter) write(kind byte, fields ...[]byte) error {
	b := []byte{kind}
	for _, field := range fields {
		b = append(binary.AppendUvarint(b, uint64(len(field))), field...)
	}
	if f.err == nil {
		_, f.err = f.w.Write(b)
	}
	f.frames++
	return f.err
}

// put writes what a key holds, unless it stays out of a backup.
func (f *frameWriter) put(key string, value []byte) error {
	if left(key) {
		return nil
	}
	return f.write(framePut, []byte(key), value)
}

func (f *frameWriter) delete(key string) error {
	if left(key) {
		return nil
	}
	return f.write(frameDelete, []byte(key))
}

// end writes the last frame, without which a backup is not whole.
func (f *frameWriter) end() error {
	if err := f.write(frameEnd, binary.AppendUvarint(nil, f.frames)); err != nil {
		return err
	}
	return f.w.Flush()
}
