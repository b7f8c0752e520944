// Random requests by Go's HTTP client: bodies of either framing, trailers, Expect, requests given up at any moment.
// Every one is either given up by us, or answered as it should be. Usage: go run main.go URL SEED CLIENTS REQUESTS
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

type tally struct {
	sync.Mutex
	Answered int      `json:"answered"`
	GivenUp  int      `json:"given_up"`
	Wrong    []string `json:"wrong"`
}

func (t *tally) wrong(format string, values ...any) {
	t.Lock()
	defer t.Unlock()
	if len(t.Wrong) < 20 {
		t.Wrong = append(t.Wrong, fmt.Sprintf(format, values...))
	}
}

func (t *tally) count(givenUp bool) {
	t.Lock()
	defer t.Unlock()
	if givenUp {
		t.GivenUp++
	} else {
		t.Answered++
	}
}

// pieces hides the size of a body, so that it is sent in chunks, and lets it come slowly.
type pieces struct {
	data   *bytes.Reader
	source *rand.Rand
}

func (p *pieces) Read(into []byte) (int, error) {
	if p.source.Intn(4) == 0 {
		time.Sleep(time.Duration(p.source.Intn(3)) * time.Millisecond)
	}
	return p.data.Read(into[:1+p.source.Intn(len(into))])
}

func request(url string, source *rand.Rand) (*http.Request, string) {
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	method := methods[source.Intn(len(methods))]
	content := []byte{}
	if method != "GET" && method != "HEAD" && method != "OPTIONS" {
		content = make([]byte, source.Intn(3)*source.Intn(40000))
		source.Read(content)
	}
	var body io.Reader = bytes.NewReader(content)
	chunked := len(content) > 0 && source.Intn(2) == 0
	if chunked {
		body = &pieces{bytes.NewReader(content), source}
	}
	made, err := http.NewRequest(method, url+"/body", body)
	if err != nil {
		panic(err)
	}
	if chunked && source.Intn(2) == 0 {
		made.Trailer = http.Header{"X-Checksum": {"abc"}, "X-More": {"1"}}
	}
	if len(content) > 0 && source.Intn(4) == 0 {
		made.Header.Set("Expect", "100-continue")
	}
	for count := source.Intn(5); count > 0; count-- {
		made.Header.Add("X-Noise", string(bytes.Repeat([]byte("n"), source.Intn(1000))))
	}
	made.Close = source.Intn(5) == 0
	if chunked {
		return made, fmt.Sprintf("%d chunked", len(content))
	}
	return made, fmt.Sprintf("%d %x", len(content), sha256.Sum256(content))
}

func one(client *http.Client, url string, source *rand.Rand, t *tally) {
	made, expected := request(url, source)
	deadline := 30 * time.Second
	hasty := source.Intn(5) == 0
	if hasty {
		deadline = time.Duration(source.Intn(8000)) * time.Microsecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	response, err := client.Do(made.WithContext(ctx))
	if err != nil {
		if !hasty || !errors.Is(err, context.DeadlineExceeded) {
			t.wrong("%s: %v", made.Method, err)
		}
		t.count(true)
		return
	}
	defer response.Body.Close()
	if source.Intn(10) == 0 { // leave without reading
		t.count(true)
		return
	}
	content, err := io.ReadAll(response.Body)
	if err != nil && hasty && errors.Is(err, context.DeadlineExceeded) {
		t.count(true)
		return
	}
	if made.Method == "HEAD" {
		expected = ""
	}
	if err != nil || response.StatusCode != 200 || string(content) != expected {
		t.wrong("%s: %d %.40q, not %.40q (%v)", made.Method, response.StatusCode, content, expected, err)
	}
	t.count(false)
}

func main() {
	number := func(index int) int {
		value, err := strconv.Atoi(os.Args[index])
		if err != nil {
			panic(err)
		}
		return value
	}
	t, url := &tally{Wrong: []string{}}, os.Args[1]
	var group sync.WaitGroup
	for id := 0; id < number(3); id++ {
		group.Add(1)
		go func(source *rand.Rand) {
			defer group.Done()
			client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second}}
			defer client.CloseIdleConnections()
			for count := number(4); count > 0; count-- {
				one(client, url, source, t)
			}
		}(rand.New(rand.NewSource(int64(number(2) + id))))
	}
	group.Wait()
	json.NewEncoder(os.Stdout).Encode(t)
}
