package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static templates
var embedded embed.FS

// file is a file that pages refer to. Its address has its hash in it, so that
// browsers may keep it for good.
type file struct {
	name, hash, media string
	plain, gzip       []byte
}

func (f *file) url() string { return "/static/" + f.hash + "/" + f.name }

func readFiles() (map[string]*file, error) {
	all := make(map[string]*file)
	media := map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
	entries, err := fs.ReadDir(embedded, "static")
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		kind := media[path.Ext(e.Name())]
		if kind == "" {
			continue // licences
		}
		f := &file{name: e.Name(), media: kind}
		if f.plain, err = embedded.ReadFile("static/" + e.Name()); err != nil {
			return nil, err
		}
		sum := sha256.Sum256(f.plain)
		f.hash = hex.EncodeToString(sum[:8])
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return nil, err
		}
		if _, err := z.Write(f.plain); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		f.gzip = b.Bytes()
		all[f.name] = f
	}
	return all, nil
}

// serveFile gives a file to anybody: the page of the login needs them.
func (s *console) serveFile(w http.ResponseWriter, r *http.Request) {
	f := s.files[r.PathValue("name")]
	if f == nil || f.hash != r.PathValue("hash") {
		s.serve(noPage).ServeHTTP(w, r)
		return
	}
	h := w.Header()
	headers(h)
	h.Set("Content-Type", f.media)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Vary", "Accept-Encoding")
	body := f.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.gzip
	}
	_, _ = w.Write(body) // whoever asked is gone when this fails
}
