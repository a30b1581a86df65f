package bolt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"omca/internal/store"
)

// tableBytes is how large a table grows before it goes to bbolt. What is issued lies
// together, so that a larger table writes fewer pages for each record; from some
// hundred records on that gains no more, and a transaction of bbolt takes many times
// as much memory.
const tableBytes = 384 << 10

// A checkpoint carries a table to bbolt in the background.
type checkpoint struct {
	done chan struct{} // closed at the end
	err  error         // to be read after that
}

// prepare returns the frame of changes, and a journal with room for it.
func (s *Store) prepare(changes []store.Change) ([]byte, error) {
	if s.journal == nil {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	frame := s.journal.frame(changes)
	if s.journal.fits(frame) {
		return frame, nil
	}
	if !s.journal.empty() {
		if err := s.settle(); err != nil {
			return nil, err
		}
		if err := s.turn(); err != nil {
			return nil, err
		}
	}
	frame = s.journal.frame(changes) // of another generation now
	if err := s.journal.grow(s.journal.off + int64(len(frame))); err != nil && !isFull(err) {
		return nil, s.fail(err)
	} else if !s.journal.fits(frame) {
		return nil, s.full(err)
	}
	return frame, nil
}

// begin makes a journal and notes in bbolt that it is in use.
func (s *Store) begin() error {
	if err := s.settle(); err != nil {
		return err
	}
	j, err := newJournal(s.path, s.magic, s.disk)
	if isFull(err) {
		return s.full(err)
	}
	if err != nil {
		return s.fail(err)
	}
	u := use{id: j.id}
	if err := s.update(u.save); err != nil {
		return errors.Join(err, j.close())
	}
	s.journal = j
	return nil
}

// settle waits until bbolt has all but the table in use, and tries again what
// failed for want of room.
func (s *Store) settle() error {
	if s.pending != nil {
		<-s.pending.done
		err := s.pending.err
		s.pending = nil
		if err != nil && !errors.Is(err, store.ErrFull) {
			return err
		}
	}
	return s.carry()
}

// turn has commits go to the other file and a new table, and carries what was
// written so far to bbolt meanwhile. Nothing else may be on its way.
func (s *Store) turn() error {
	if s.magic == copyMagic {
		// What comes is not to be on the disk before this is.
		if err := s.journal.sync(); err != nil {
			return s.fail(err)
		}
		s.stats.syncs.Add(1)
	}
	s.journal.turn()
	s.tables.Store(&[]*table{new(table), (*s.tables.Load())[0]})
	c := &checkpoint{done: make(chan struct{})}
	s.pending = c
	go func() {
		defer close(c.done)
		c.err = s.whole(s.carry)
	}()
	return nil
}

// carried reports whether bbolt has all but the table in use.
func (s *Store) carried() bool { return len(*s.tables.Load()) == 1 }

// carry writes all tables but the one in use to bbolt, and forgets them. What
// the journal held of them is out of date with the same transaction.
func (s *Store) carry() error {
	if s.carried() {
		return nil
	}
	tables := *s.tables.Load()
	err := s.update(func(tx *bbolt.Tx) error {
		b, err := s.data(tx)
		if err != nil {
			return err
		}
		b.FillPercent = fillPercent
		for _, t := range slices.Backward(tables[1:]) { // the newest comes last
			if err := t.save(b); err != nil {
				return err
			}
		}
		return s.use().save(tx)
	})
	if err == nil {
		s.tables.Store(&[]*table{tables[0]})
	}
	return err
}

// save writes the newest version of each key.
func (t *table) save(b *bbolt.Bucket) error {
	for n := t.from(""); n != nil; n = n.next[0].Load() {
		v := n.newest.Load()
		if v.deleted {
			if err := b.Delete([]byte(n.key)); err != nil {
				return err
			}
		} else if err := b.Put([]byte(n.key), encode(v.rev, v.value)); err != nil {
			return err
		}
	}
	return b.SetSequence(max(b.Sequence(), uint64(t.rev)))
}

// finish leaves all in bbolt, with the list of free pages, so that the next
// Open need not read the whole file to find them. A broken store and a full
// disk are left as they are: the next Open reads the journal.
func (s *Store) finish() error {
	if s.pending != nil {
		<-s.pending.done
	}
	j := s.journal
	s.journal = nil
	var err error
	if s.failed() == nil && s.stats.groups.Load()+s.stats.syncs.Load() > 0 {
		all := append([]*table{new(table)}, *s.tables.Load()...)
		s.tables.Store(&all)
		s.db.NoFreelistSync = false
		if err = s.carry(); errors.Is(err, store.ErrFull) {
			err = nil
		}
	}
	if j != nil {
		err = errors.Join(err, j.close())
	}
	return err
}

// update is a transaction of bbolt. Without room bbolt puts everything back.
// This is believed only when the file shows it: its header must still be that
// of the transaction before.
func (s *Store) update(change func(*bbolt.Tx) error) error {
	if err := checkChange(s.file, s.name, (*s.tables.Load())[1:]); err != nil {
		return s.fail(err)
	}
	var tx *bbolt.Tx
	err := s.locked(func() (err error) {
		tx, err = s.db.Begin(true)
		return err
	})
	if err != nil {
		return s.fail(err)
	}
	before := tx.ID() - 1
	if err := guard(func() error { return change(tx) }); err != nil {
		return s.fail(errors.Join(err, s.locked(tx.Rollback)))
	}
	if err := guard(func() error { return s.sync(tx) }); err != nil {
		_ = s.locked(tx.Rollback) // where bbolt has not done it: else it says that tx is closed
		if isFull(err) && s.newest() == before {
			return s.full(err)
		}
		return s.fail(err)
	}
	stats := tx.Stats()
	s.stats.syncs.Add(2)
	s.stats.bytes.Add(stats.GetPageAlloc() + s.pageSize) // and the header
	s.release()                                          // pages from all over the file were read
	return nil
}

// newest returns the transaction that a reader of bbolt sees, -1 for none.
func (s *Store) newest() int {
	id := -1
	if err := s.look(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }); err != nil {
		return -1
	}
	return id
}

// useName names the bucket that says which journal is in use.
var useName = []byte("journal")

// A use is what bbolt notes about the journal, so that it is missed when it
// is not there. The zero use is none.
type use struct {
	id   journalID
	base uint64 // generations before this one are in bbolt
}

// use returns what is to be noted of the journal as it is.
func (s *Store) use() use {
	if s.journal == nil {
		return use{}
	}
	return use{id: s.journal.id, base: s.journal.gen}
}

func (u use) save(tx *bbolt.Tx) error {
	b, err := tx.CreateBucketIfNotExists(useName)
	if err != nil {
		return err
	}
	if u.id == (journalID{}) {
		return b.Delete(useName)
	}
	return b.Put(useName, binary.BigEndian.AppendUint64(u.id[:], u.base))
}

func loadUse(tx *bbolt.Tx) (use, error) {
	b := tx.Bucket(useName)
	if b == nil {
		return use{}, nil
	}
	v := b.Get(useName)
	if v == nil {
		return use{}, nil
	}
	if len(v) != idBytes+8 {
		return use{}, fmt.Errorf("%w: what it says about its journal has %d bytes, expected %d", store.ErrDamaged, len(v), idBytes+8)
	}
	return use{id: journalID(v), base: binary.BigEndian.Uint64(v[idBytes:])}, nil
}
