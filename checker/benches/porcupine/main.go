// Runs Porcupine over one history of ours, for `checker bench --porcupine`.
//
//	porcupine FILE [SECONDS]
//
// FILE is a history in our own form, of registers with or without keys. Prints one line of JSON: the verdict, the
// seconds of processor time that the check took beyond reading (the system's on its behalf with it), and the peak of
// memory in bytes. The model is the
// same as ours: a failed cas with the error "mismatch" observed another value, every other failure did nothing,
// and an operation of unknown outcome may take effect at any time after its invocation, or never.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/anishathalye/porcupine"
)

type event struct {
	Ordeal  *int            `json:"ordeal"`
	Time    int64           `json:"time"`
	Process json.RawMessage `json:"process"`
	Type    string          `json:"type"`
	F       string          `json:"f"`
	Key     json.RawMessage `json:"key"`
	Value   json.RawMessage `json:"value"`
	Error   string          `json:"error"`
}

type kind uint8

const (
	get kind = iota
	set
	cas
	add
	differs
)

// Values are numbered as they are met: "null" is 0. Appended texts are looked up by their content.
type call struct {
	kind     kind
	key      string
	from, to int
	text     string
	unknown  bool
}

type values struct {
	numbers map[string]int
	texts   []string
}

func (v *values) number(raw string) int {
	if known, ok := v.numbers[raw]; ok {
		return known
	}
	v.numbers[raw] = len(v.texts)
	v.texts = append(v.texts, raw)
	return len(v.texts) - 1
}

// The text of a value as appending sees it: nothing is the empty text.
func plain(raw string) string {
	if raw == "null" {
		return ""
	}
	if text, err := strconv.Unquote(raw); err == nil {
		return text
	}
	return raw
}

func fail(problem error) {
	fmt.Fprintln(os.Stderr, "porcupine:", problem)
	os.Exit(254)
}

func read(path string) []porcupine.Operation {
	file, err := os.Open(path)
	if err != nil {
		fail(err)
	}
	defer file.Close()
	known := values{numbers: map[string]int{}}
	known.number("null")
	var history []porcupine.Operation
	open := map[string]int{}
	lines := bufio.NewScanner(file)
	lines.Buffer(make([]byte, 1<<20), 1<<30)
	for number := 1; lines.Scan(); number++ {
		var line event
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			fail(fmt.Errorf("%s:%d: %w", path, number, err))
		}
		if line.Ordeal != nil {
			continue
		}
		process := string(line.Process)
		if line.Type == "invoke" {
			asked := call{key: string(line.Key), unknown: true}
			switch line.F {
			case "get", "read":
				asked.kind = get
			case "set", "write", "put":
				asked.kind, asked.to = set, known.number(string(line.Value))
				asked.text = plain(string(line.Value))
			case "append":
				asked.kind, asked.text = add, plain(string(line.Value))
			case "cas":
				var pair []json.RawMessage
				if err := json.Unmarshal(line.Value, &pair); err != nil || len(pair) != 2 {
					fail(fmt.Errorf("%s:%d: a cas needs two values", path, number))
				}
				asked.kind = cas
				asked.from, asked.to = known.number(string(pair[0])), known.number(string(pair[1]))
			default:
				fail(fmt.Errorf("%s:%d: unknown function %s", path, number, line.F))
			}
			client, _ := strconv.Atoi(process)
			open[process] = len(history)
			history = append(history, porcupine.Operation{
				ClientId: client, Input: &asked, Call: line.Time, Return: math.MaxInt64,
			})
			continue
		}
		at, ok := open[process]
		if !ok || line.Type == "info" {
			continue
		}
		delete(open, process)
		operation := &history[at]
		asked := operation.Input.(*call)
		operation.Return = line.Time
		switch {
		case line.Type == "ok":
			asked.unknown = false
			if asked.kind == get {
				asked.to = known.number(string(line.Value))
			}
		case asked.kind == cas && line.Error == "mismatch":
			asked.kind, asked.unknown = differs, false
		default:
			asked.kind, asked.unknown = get, true // it did nothing
		}
	}
	if err := lines.Err(); err != nil {
		fail(err)
	}
	kept := history[:0]
	for _, operation := range history {
		// A read that nobody heard of says nothing.
		if asked := operation.Input.(*call); !(asked.kind == get && asked.unknown) {
			kept = append(kept, operation)
		}
	}
	appends := false
	for _, operation := range kept {
		appends = appends || operation.Input.(*call).kind == add
	}
	if appends {
		for _, operation := range kept {
			if asked := operation.Input.(*call); asked.kind == get {
				asked.text = plain(known.texts[asked.to])
			}
		}
	}
	texts = appends
	return kept
}

// Whether states are texts.
var texts bool

func model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			parts := map[string][]porcupine.Operation{}
			for _, operation := range history {
				key := operation.Input.(*call).key
				parts[key] = append(parts[key], operation)
			}
			var all [][]porcupine.Operation
			for _, part := range parts {
				all = append(all, part)
			}
			return all
		},
		Init: func() interface{} {
			if texts {
				return ""
			}
			return 0
		},
		Step: func(state, input, _ interface{}) (bool, interface{}) {
			asked := input.(*call)
			if texts {
				switch asked.kind {
				case add:
					return true, state.(string) + asked.text
				case set:
					return true, asked.text
				case cas, differs:
					fail(errors.New("a history with both appends and cas"))
				}
				return asked.text == state.(string), state
			}
			now := state.(int)
			switch asked.kind {
			case get:
				return now == asked.to, state
			case set:
				return true, asked.to
			case differs:
				return now != asked.from, state
			}
			if now == asked.from {
				return true, asked.to
			}
			return asked.unknown, state
		},
		// Without it all states of one set of calls share a place of its memory, and histories of texts take
		// minutes instead of a fraction of a second.
		Hash: func(state interface{}) uint64 {
			if texts {
				hash := fnv.New64a()
				hash.Write([]byte(state.(string)))
				return hash.Sum64()
			}
			return uint64(state.(int)) * 0x9e3779b97f4a7c15
		},
	}
}

func usage() (time.Duration, int64) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		fail(err)
	}
	// How the two are told apart is only sampled; their sum is exact.
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), used.Maxrss * 1024
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("which history? porcupine FILE [SECONDS]"))
	}
	limit := time.Duration(0)
	if len(os.Args) > 2 {
		seconds, err := strconv.ParseFloat(os.Args[2], 64)
		if err != nil {
			fail(err)
		}
		limit = time.Duration(seconds * float64(time.Second))
	}
	history := read(os.Args[1])
	before, _ := usage()
	began := time.Now()
	result := porcupine.CheckOperationsTimeout(model(), history, limit)
	_, peak := usage()
	// What is short is repeated, since the clock of the processor ticks coarsely.
	times := 1.0
	for time.Since(began) < 100*time.Millisecond {
		porcupine.CheckOperationsTimeout(model(), history, limit)
		times++
	}
	wall := time.Since(began).Seconds() / times
	after, _ := usage()
	user := (after - before).Seconds() / times
	verdict := map[porcupine.CheckResult]string{
		porcupine.Ok: "legal", porcupine.Illegal: "illegal", porcupine.Unknown: "unknown",
	}[result]
	fmt.Printf(`{"verdict":%q,"user":%.6f,"wall":%.6f,"peak":%d}`+"\n", verdict, user, wall, peak)
}
