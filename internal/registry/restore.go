package registry

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/big"
	"strings"
	"sync"
	"time"

	"omca/ca"
	"omca/crl"
	"omca/internal/hint"
	"omca/internal/object"
	"omca/internal/seal"
	"omca/internal/store"
	"omca/pki"
)

// RestoreConfig says where a backup goes. Known may be nil; the rest is required.
type RestoreConfig struct {
	Into   store.Store // empty
	Master seal.Master // that will open the sealed values
	Now    func() time.Time
	// Known is the store that the backup replaces, or a copy of it, as far as it
	// can still be read: what was revoked in it stays revoked.
	Known Reader
	// KnownMaster returns the master key of Known, or why there is none. It is asked when
	// a key of Known does not open with the data keys of the backup. Nil is none.
	KnownMaster func() (seal.Master, error)
}

// A Reader reads as a store does.
type Reader interface {
	Get(ctx context.Context, key string) (store.Entry, error)
	Scan(ctx context.Context, r store.Range) (store.Page, error)
}

// Restored says what came out of a backup, and what it did not know.
type Restored struct {
	BackupInfo
	Revoked []Unknown // taken back after the backup was made; kept so
	Issued  []Unknown // issued after the backup was made: not in the inventory any more

	// Authorities are the CAs whose keys came into the store that was there after the
	// backup was made. A backup of an earlier build does not tell: only lost keys are named.
	Authorities []LaterAuthority
	// Unrecorded says that an earlier build wrote the store that was there, which put no
	// CA on record: it is not known which CAs it had.
	Unrecorded bool
}

// Unknown is what a backup does not know of the store that it replaces.
type Unknown struct {
	Serial string `json:"serial,omitempty"` // of a certificate
	Token  string `json:"token,omitempty"`  // id of a token
	Owner  string `json:"owner,omitempty"`
}

// listLeap is added to the number of every revocation list, so that none comes
// again which was published after the backup was made: RFC 5280, 5.2.3, numbers
// rise. They have room for 20 octets.
const listLeap = 1 << 40

// Restore puts a backup into an empty store. What is in the store when it fails
// is to be thrown away.
func Restore(ctx context.Context, c RestoreConfig, r io.Reader) (Restored, error) {
	if c.Into == nil || c.Master == nil || c.Now == nil {
		return Restored{}, errors.New("object: RestoreConfig needs Into, Master and Now")
	}
	page, err := c.Into.Scan(ctx, store.Range{Limit: 1})
	if err != nil {
		return Restored{}, err
	}
	if len(page.Entries) > 0 {
		return Restored{}, fmt.Errorf("%w: the store is not empty", ca.ErrConflict)
	}
	in := &restorer{
		RestoreConfig: c, below: c.Into, r: bufio.NewReaderSize(r, 64<<10), touched: make(map[string]bool),
		raw: c.Known, lives: make(map[pki.AuthorityID]time.Time),
	}
	in.knownKeys = sync.OnceValues(func() (*seal.Keyring, error) { return in.openKnown(ctx) })
	if err := in.run(ctx); err != nil {
		return Restored{}, err
	}
	if c.Known != nil {
		in.Known = untagged{c.Known}
		if err := in.compare(ctx); err != nil {
			return Restored{}, fmt.Errorf("comparing with the store that was there: %w", err)
		}
	}
	return in.done, nil
}

type restorer struct {
	RestoreConfig // Into has its values tagged once the keyring is there
	below         store.Store
	r             *bufio.Reader
	master        seal.Master
	frames        uint64
	done          Restored

	tx      store.Tx        // what comes next
	touched map[string]bool // keys in tx

	raw       Reader                        // Known with its tags
	knownKeys func() (*seal.Keyring, error) // of Known
	lives     map[pki.AuthorityID]time.Time // when the last certificate ends that a CA signed and that is not put on record
}

func (r *restorer) run(ctx context.Context) error {
	magic := make([]byte, len(backupMagic))
	if _, err := io.ReadFull(r.r, magic); err != nil {
		return damaged(err)
	}
	if string(magic) != backupMagic {
		return object.Invalidf("this is no backup of omca, or of another version")
	}
	for {
		kind, err := r.r.ReadByte()
		if err != nil {
			return damaged(err)
		}
		if kind == frameEnd {
			return r.end(ctx)
		}
		if err := r.frame(ctx, kind); err != nil {
			return err
		}
		r.frames++
	}
}

// damaged says why a backup cannot be read to its end.
func damaged(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return damagedf("it ends early")
	}
	return damagedf("%w", err)
}

func damagedf(format string, args ...any) error {
	return hint.With(fmt.Errorf("the backup is cut short or damaged: %w", object.Invalidf(format, args...)),
		"copy the file once more from where it was made, or take an earlier backup")
}

// field reads a field of at most so many bytes.
func (r *restorer) field(most int) ([]byte, error) {
	n, err := binary.ReadUvarint(r.r)
	if err != nil {
		return nil, damaged(err)
	}
	if n > uint64(most) {
		return nil, damagedf("a field of %d bytes, at most %d", n, most)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, damaged(err)
	}
	return b, nil
}

func (r *restorer) frame(ctx context.Context, kind byte) error {
	switch kind {
	case frameInfo:
		text, err := r.field(store.MaxValue)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, &r.done.BackupInfo)
	case frameMaster:
		key, err := r.field(seal.KeySize)
		if err == nil && len(key) != seal.KeySize {
			err = damagedf("a master key of %d bytes", len(key))
		}
		if err != nil {
			return err
		}
		r.master, err = seal.NewFileMaster([seal.KeySize]byte(key))
		return err
	case framePut, frameDelete:
		return r.operation(ctx, kind)
	case frameReset:
		return r.reset(ctx)
	}
	return damagedf("a frame of kind %q", kind)
}

func (r *restorer) operation(ctx context.Context, kind byte) error {
	name, err := r.field(store.MaxKey)
	if err != nil {
		return err
	}
	key := string(name)
	if kind == frameDelete {
		if err := r.room(ctx, key, 0); err != nil {
			return err
		}
		r.tx.Deletes = append(r.tx.Deletes, key)
		return nil
	}
	value, err := r.field(store.MaxValue)
	if err == nil && key == keyKeyring {
		return r.keyring(ctx, value)
	}
	if err == nil {
		value, err = renew(key, value)
	}
	if err == nil {
		err = r.room(ctx, key, len(value))
	}
	if err != nil {
		return err
	}
	r.tx.Puts = append(r.tx.Puts, store.Put{Key: key, Value: value})
	return nil
}

// reset throws away what has come so far.
func (r *restorer) reset(ctx context.Context) error {
	r.tx, r.touched = store.Tx{}, make(map[string]bool)
	for e, err := range entries(ctx, r.Into, "") {
		if err == nil && (e.Key == keyKeyring || strings.HasPrefix(e.Key, prefixSum)) {
			continue
		}
		if err == nil {
			err = r.room(ctx, e.Key, 0)
		}
		if err != nil {
			return err
		}
		r.tx.Deletes = append(r.tx.Deletes, e.Key)
	}
	return r.commit(ctx)
}

// room makes sure that the transaction has room for one more operation, and
// does not touch the key yet: one that came earlier happens earlier.
func (r *restorer) room(ctx context.Context, key string, size int) error {
	const overhead = 1 << 10 // more than an operation costs beside its key and value
	if !r.touched[key] && len(r.touched) < maxCounted && r.tx.Size()+len(key)+size+overhead <= store.MaxTx {
		r.touched[key] = true
		return nil
	}
	err := r.commit(ctx)
	r.touched[key] = true
	return err
}

func (r *restorer) commit(ctx context.Context) error {
	_, err := r.Into.Commit(ctx, r.tx)
	r.tx, r.touched = store.Tx{}, make(map[string]bool)
	return err
}

// keyring keeps the keyring, wrapped by the master of the new home. What comes after it
// has tags, if the store of the backup had.
func (r *restorer) keyring(ctx context.Context, value []byte) error {
	if r.master == nil {
		return damagedf("a keyring without its master key")
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	keys, err := seal.LoadKeyring(value, r.master)
	if err != nil {
		return err
	}
	// A backup has no tags, and nothing is counted in it: that is done at its end.
	if keys, err = keys.InFormat(min(keys.StoreFormat(), seal.FormatTagging)).Rewrap(r.Master); err != nil {
		return err
	}
	text, err := keys.Marshal()
	if err != nil {
		return err
	}
	rev, err := r.below.Commit(ctx, store.Tx{Puts: []store.Put{{Key: keyKeyring, Value: text}}})
	if err == nil {
		r.Into = newAuthentic(r.below, newFormat(r.Master, keys, rev))
	}
	return err
}

// renew returns what a value becomes: the numbers of revocation lists leap.
func renew(key string, value []byte) ([]byte, error) {
	switch {
	case strings.HasPrefix(key, prefixList), strings.HasPrefix(key, prefixCRL):
		kept, err := decodeList(store.Entry{Key: key, Value: value})
		if err != nil {
			return nil, damagedf("%v", err)
		}
		return leaped(kept)
	}
	return value, nil
}

// end checks that nothing is missing.
func (r *restorer) end(ctx context.Context) error {
	text, err := r.field(binary.MaxVarintLen64)
	if err != nil {
		return err
	}
	if frames, n := binary.Uvarint(text); n <= 0 || frames != r.frames {
		return damagedf("it has %d frames, and says %d", r.frames, frames)
	}
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return damagedf("it goes on behind its end")
	}
	if r.master == nil || r.done.At.IsZero() {
		return damagedf("its head is missing")
	}
	if err := r.commit(ctx); err != nil {
		return err
	}
	into, ok := r.Into.(*authentic)
	if !ok {
		return damagedf("it has no keyring")
	}
	if into.format.known().number < seal.FormatTagging {
		return nil // an older one is brought over by the first start
	}
	return into.tagAll(ctx, r.Now())
}

// compare finds what the backup does not know of the store that was there, and
// takes back again what had been taken back.
func (r *restorer) compare(ctx context.Context) error {
	known, err := r.revoked(ctx)
	if err != nil {
		return err
	}
	recorded, err := r.recorded(ctx)
	if err != nil {
		return err
	}
	r.done.Unrecorded = !recorded
	for _, prefix := range []string{prefixRevocation, prefixRevoked, prefixBlocked, prefixTokenRevoked} {
		err := r.unknown(ctx, prefix, func(e store.Entry) error {
			id := e.Key[strings.LastIndexByte(e.Key, '/')+1:]
			switch {
			case prefix == prefixTokenRevoked:
				r.done.Revoked = append(r.done.Revoked, Unknown{Token: id})
			case prefix != prefixBlocked && !known[id]:
				known[id] = true
				r.done.Revoked = append(r.done.Revoked, Unknown{Serial: id})
			}
			_, err := r.Into.Commit(ctx, store.Tx{Puts: []store.Put{{Key: e.Key, Value: e.Value}}})
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{r.authorities, r.lift, r.sweepKnown} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := r.issuedSince(ctx, known); err != nil {
		return err
	}
	return r.keepLives(ctx)
}

// issuedSince names what was issued after the backup, and ends it. known are the serial
// numbers that are revoked.
func (r *restorer) issuedSince(ctx context.Context, known map[string]bool) error {
	return r.unknown(ctx, prefixSerial, func(e store.Entry) error {
		u := Unknown{Serial: strings.TrimPrefix(e.Key, prefixSerial)}
		kept, err := r.Known.Get(ctx, prefixCert+string(e.Value)+"/"+u.Serial)
		if err != nil {
			return err
		}
		record, err := decodeRecord(kept.Value)
		if err != nil {
			return err
		}
		u.Owner = record.Owner
		r.done.Issued = append(r.done.Issued, u)
		if known[u.Serial] {
			// The list of its CA goes on for it, also when an object holds the CA no more.
			return r.record(ctx, record, store.Tx{})
		}
		return r.endUnknown(ctx, record)
	})
}

// record puts a certificate on record, with what else a transaction has.
func (r *restorer) record(ctx context.Context, record ca.Record, tx store.Tx) error {
	if err := putRecord(&tx, record); err != nil {
		return err
	}
	_, err := r.Into.Commit(ctx, tx)
	return err
}

// endUnknown puts a certificate that the backup does not know on record, and revokes it,
// unless the key of the CA was made here: that CA's certificates have to be on record to
// be accepted, and others' do not.
func (r *restorer) endUnknown(ctx context.Context, record ca.Record) error {
	authority := ca.Unplaced(cmp.Or(hex.EncodeToString(record.Certificate.AuthorityKeyId), record.Signer))
	if !record.Authority.IsZero() {
		authority = record.Authority.String()
		e, err := r.Into.Get(ctx, authorityKey(record.Authority))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err == nil {
			is, _, err := decodeAuthority(e)
			if err != nil {
				return err
			}
			if is.KeyMade {
				r.outlives(record)
				return nil
			}
		}
	}
	value, err := json.Marshal(storedRevocation{record.IssuedAt.Unix(), record.Certificate.NotAfter.Unix(), crl.Superseded, "restore"})
	if err != nil {
		return err
	}
	return r.record(ctx, record, store.Tx{Puts: []store.Put{{Key: revocationKey(authority, record.Serial()), Value: value}}})
}

// revoked are the serial numbers that the backup knows to be revoked, in either format.
func (r *restorer) revoked(ctx context.Context) (map[string]bool, error) {
	known := make(map[string]bool)
	for _, prefix := range []string{prefixRevocation, prefixRevoked} {
		for e, err := range entries(ctx, r.Into, prefix) {
			if err != nil {
				return nil, err
			}
			known[e.Key[strings.LastIndexByte(e.Key, '/')+1:]] = true
		}
	}
	return known, nil
}

// lift has the numbers of lists go on above those of the store that was there: it may
// have been restored from the same backup before, or have published lists of a CA that
// is not in the backup.
func (r *restorer) lift(ctx context.Context) error {
	for _, prefix := range []string{prefixList, prefixCRL} {
		for e, err := range entries(ctx, r.Known, prefix) {
			if err != nil {
				return err
			}
			known, err := decodeList(e)
			if err != nil {
				return err
			}
			have, err := r.Into.Get(ctx, e.Key)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if err == nil {
				is, err := decodeList(have)
				if err != nil {
					return err
				}
				if is.above(known) {
					continue
				}
			}
			value, err := leaped(known)
			if err != nil {
				return err
			}
			if _, err := r.Into.Commit(ctx, store.Tx{Puts: []store.Put{{Key: e.Key, Value: value}}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// leaped returns the state of the last list of a CA with a number that no list has yet.
func leaped(l storedList) ([]byte, error) {
	number, _ := new(big.Int).SetString(l.Number, 10)
	l.Number = number.Add(number, big.NewInt(listLeap)).String()
	l.Origin = "" // this store is another
	return json.Marshal(l)
}

// sweepKnown removes the records of tokens that the store that was there has swept:
// it no longer knows which of them were taken back.
func (r *restorer) sweepKnown(ctx context.Context) error {
	swept, _, err := sweptTokens(ctx, r.Known)
	if err != nil || swept == "" {
		return err
	}
	for e, err := range entries(ctx, r.Into, prefixToken) {
		if err != nil {
			return err
		}
		expiry, id, ok := strings.Cut(strings.TrimPrefix(e.Key, prefixToken), "/")
		if expiry > swept {
			break
		}
		var kept storedToken
		if err := json.Unmarshal(e.Value, &kept); err != nil || !ok {
			return fmt.Errorf("store key %q: no token: %w", e.Key, err)
		}
		_, err := r.Known.Get(ctx, prefixTokenID+id)
		if errors.Is(err, store.ErrNotFound) {
			_, err = r.Into.Commit(ctx, store.Tx{Deletes: []string{e.Key, prefixTokenID + id, tokenOfKey(kept.Subject, expiry, id)}})
		}
		if err != nil {
			return err
		}
	}
	here, _, err := sweptTokens(ctx, r.Into)
	if err != nil {
		return err
	}
	_, err = r.Into.Commit(ctx, store.Tx{Puts: []store.Put{{Key: keyTokensSwept, Value: []byte(max(here, swept))}}})
	return err
}

// unknown visits what the store that was there has under a prefix and the
// restored one has not.
func (r *restorer) unknown(ctx context.Context, prefix string, visit func(store.Entry) error) error {
	for e, err := range entries(ctx, r.Known, prefix) {
		if err != nil {
			return err
		}
		_, err := r.Into.Get(ctx, e.Key)
		if errors.Is(err, store.ErrNotFound) {
			err = visit(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entries are all that a store holds under a prefix, page by page.
func entries(ctx context.Context, db Reader, prefix string) iter.Seq2[store.Entry, error] {
	return entriesIn(ctx, db, store.Range{Prefix: prefix})
}

// entriesIn are all that a store holds in a range, page by page.
func entriesIn(ctx context.Context, db Reader, r store.Range) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		for {
			page, err := db.Scan(ctx, r)
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			for _, e := range page.Entries {
				if !yield(e, nil) {
					return
				}
				r.After = e.Key
			}
			if !page.More {
				return
			}
		}
	}
}

// untagged reads a store that was there without its tags, which nobody can check without
// its master key: what it knows to be revoked stays revoked, and more than that is not
// believed.
type untagged struct{ Reader }

// Get is Reader.Get.
func (u untagged) Get(ctx context.Context, key string) (store.Entry, error) {
	e, err := u.Reader.Get(ctx, key)
	e.Value = stripTag(key, e.Value)
	return e, err
}

// Scan is Reader.Scan.
func (u untagged) Scan(ctx context.Context, r store.Range) (store.Page, error) {
	page, err := u.Reader.Scan(ctx, r)
	for i, e := range page.Entries {
		page.Entries[i].Value = stripTag(e.Key, e.Value)
	}
	return page, err
}

// stripTag returns a value without its tag. No value of ours ends with what a counter
// begins with, so one of an older format is known by that.
func stripTag(key string, stored []byte) []byte {
	at := len(stored) - seal.TrailerSize
	if unauthentic(key) || at < 0 || !bytes.Equal(stored[at:at+seal.CounterSize/2], make([]byte, seal.CounterSize/2)) {
		return stored
	}
	return stored[:at]
}
