#!/usr/bin/env perl
# Counts what lies in LOOK_AT and drafts a plan: observation.md for people, plan.json for programs. The same files give
# the same bytes. What it says is what it saw; it guesses at nothing, and the plan is marked as a draft.

use strict;
use warnings;

# Beyond so many entries a tree is not counted further, and the report says so.
use constant MAX_ENTRIES => 200_000;
use constant MAX_DEPTH => 64;

my $root = defined $ENV{LOOK_AT} && $ENV{LOOK_AT} ne '' ? $ENV{LOOK_AT} : '.';
my $artifacts = defined $ENV{EPARCH_ARTIFACTS} ? $ENV{EPARCH_ARTIFACTS} : 'artifacts';
-d $root or fail("cannot look at '$root': " . (-e $root ? 'it is not a folder' : $!));

# Folders and files of the agent itself, by device and inode: they are not what it was asked to look at.
my %own = map { my @stat = stat $_; @stat ? ("$stat[0]:$stat[1]" => 1) : () }
    grep { defined && $_ ne '' && !same($_, $root) } '.agent', $artifacts, @ENV{qw(EPARCH_PACKET EPARCH_OUTPUT EPARCH_INPUTS TMPDIR HOME)};

# What a file's name tells about its part in a project.
my %MANIFEST = map { $_ => 1 } qw(Cargo.toml package.json pyproject.toml setup.py go.mod pom.xml build.gradle Gemfile composer.json mix.exs CMakeLists.txt
    Makefile Dockerfile docker-compose.yml compose.yaml flake.nix ansible.cfg);

my %seen = (entries => 0, files => 0, folders => 0, links => 0, others => 0, caches => 0, bytes => 0, unreadable => 0, kinds => {}, largest => [], guides => [], manifests => []);
look($root, '', 0);

my $objective = objective();
my $head = git_head();
my @steps = steps();
mkdir $artifacts;
write_file('observation.md', observation());
write_file('plan.json', plan());
output("files=$seen{files}\nbytes=$seen{bytes}\nhead=" . ($head || 'none') . "\nsteps=" . @steps . "\n");
print "default: saw $seen{files} files in $seen{folders} folders, $seen{bytes} bytes; drafted a plan of " . @steps . " steps\n";

sub fail { print STDERR "default: $_[0]\n"; exit 1 }

sub same { my @one = stat $_[0]; my @two = stat $_[1]; return @one && @two && $one[0] == $two[0] && $one[1] == $two[1] }

# Walks a folder in the order of names, follows no link, and leaves out git's own data.
sub look {
    my ($folder, $prefix, $depth) = @_;
    opendir my $handle, $folder or do { $seen{unreadable}++; return };
    my @names = sort grep { !/\A\.\.?\z/ } readdir $handle;
    closedir $handle;
    for my $name (@names) {
        return if $seen{entries} >= MAX_ENTRIES;
        my ($path, $shown) = ("$folder/$name", "$prefix$name");
        my @stat = lstat $path or do { $seen{unreadable}++; next };
        next if $own{"$stat[0]:$stat[1]"} || $name eq '.git';
        $seen{entries}++;
        if    (-l _) { $seen{links}++ }
        elsif (-d _ && -f "$path/CACHEDIR.TAG") { $seen{caches}++ }    # by its own word it can be made anew
        elsif (-d $path) { $seen{folders}++; $depth < MAX_DEPTH ? look($path, "$shown/", $depth + 1) : $seen{unreadable}++ }
        elsif (-f $path) { count($shown, $name, $stat[7]) }
        else         { $seen{others}++ }
    }
    return;
}

sub count {
    my ($shown, $name, $size) = @_;
    my $kind = $name =~ /[^.]\.([A-Za-z0-9_+-]{1,12})\z/ ? lc $1 : 'no ending';
    $seen{files}++;
    $seen{bytes} += $size;
    $seen{kinds}{$kind}{files}++;
    $seen{kinds}{$kind}{bytes} += $size;
    push @{$seen{guides}}, $shown if $name =~ /\A(?:README|CONTRIBUTING|ARCHITECTURE|SECURITY|CHANGELOG)\b/i && @{$seen{guides}} < 20;
    push @{$seen{manifests}}, $shown if ($MANIFEST{$name} || $name =~ /\.tf\z/) && @{$seen{manifests}} < 50;
    @{$seen{largest}} = (sort { $b->[1] <=> $a->[1] || $a->[0] cmp $b->[0] } @{$seen{largest}}, [$shown, $size])[0 .. (@{$seen{largest}} < 10 ? @{$seen{largest}} : 9)];
    return;
}

# The commit that is checked out, read from git's files: no program of the checkout's configuration runs.
sub git_head {
    my $head = slurp("$root/.git/HEAD");
    return undef if !defined $head;
    return $1 if $head =~ /\A([0-9a-f]{40,64})\s*\z/;
    my ($ref) = $head =~ m{\Aref: (refs/[A-Za-z0-9._/-]+)\s*\z} or return undef;
    return undef if $ref =~ /\.\./;
    my $loose = slurp("$root/.git/$ref");
    return $1 if defined $loose && $loose =~ /\A([0-9a-f]{40,64})\s*\z/;
    my $packed = slurp("$root/.git/packed-refs");
    return defined $packed && $packed =~ /^([0-9a-f]{40,64}) \Q$ref\E$/m ? $1 : undef;
}

# The objective of the instruction packet: the one value needed of it.
sub objective {
    my $packet = defined $ENV{EPARCH_PACKET} ? slurp($ENV{EPARCH_PACKET}) : undef;
    return undef if !defined $packet || $packet !~ /"objective"\s*:\s*"((?:[^"\\]|\\.)*)"/s;
    my $text = $1;
    my %escape = (n => "\n", t => "\t", r => "\r", b => "\b", f => "\f");
    $text =~ s{\\(?:u([dD][89abAB]..)\\u([dD][c-fC-F]..)|u([0-9a-fA-F]{4})|(.))}{
        defined $1 ? utf8_bytes(0x10000 + ((hex($1) - 0xd800) << 10) + hex($2) - 0xdc00)
            : defined $3 ? utf8_bytes(hex $3) : exists $escape{$4} ? $escape{$4} : $4 }ges;
    return $text =~ /\S/ ? $text : undef;
}

sub utf8_bytes { my $character = chr($_[0] >= 0xd800 && $_[0] <= 0xdfff ? 0xfffd : $_[0]); utf8::encode($character); return $character }

# The draft: what a careful reader would do first with what is there. Every step only reads, but the last.
sub steps {
    my @draft;
    push @draft, ['read_file', 'Read what the project says about itself.', $seen{guides}] if @{$seen{guides}};
    push @draft, ['read_file', 'Read what it is built from and how.', $seen{manifests}] if @{$seen{manifests}};
    my @kinds = grep { $_ ne 'no ending' } by_bytes();
    splice @kinds, 3 if @kinds > 3;
    push @draft, ['search_code', 'Search the files that make up most of it for what the objective concerns.', [map { "*.$_" } @kinds]] if @kinds;
    push @draft, ['list_directory', 'There is nothing to read; ask where the work is.', []] if !$seen{files};
    push @draft, ['request_review', 'Hand this draft to a person before anything is changed.', []];
    return @draft;
}

sub by_bytes {
    my $kinds = $seen{kinds};
    return sort { $kinds->{$b}{bytes} <=> $kinds->{$a}{bytes} || $a cmp $b } keys %$kinds;
}

sub observation {
    my $text = "# What was seen\n\n";
    $text .= 'Objective: ' . (defined $objective ? plain($objective) : 'none was given') . "\n\n";
    $text .= "- $seen{files} files, $seen{bytes} bytes, in $seen{folders} folders\n";
    $text .= "- $seen{links} symbolic links, not followed\n" if $seen{links};
    $text .= "- $seen{caches} cache folders (by their CACHEDIR.TAG), left out\n" if $seen{caches};
    $text .= "- $seen{others} entries that are neither files, folders nor links\n" if $seen{others};
    $text .= "- $seen{unreadable} entries that could not be read\n" if $seen{unreadable};
    $text .= '- more than ' . MAX_ENTRIES . " entries: the rest was not counted\n" if $seen{entries} >= MAX_ENTRIES;
    $text .= '- git: ' . (defined $head ? "commit $head" : 'no commit that could be read') . "\n";
    my @kinds = by_bytes();
    my $more = @kinds > 30 ? @kinds - 30 : 0;
    splice @kinds, 30 if $more;
    if (@kinds) {
        $text .= "\n## By kind\n\n| kind | files | bytes |\n|---|---:|---:|\n";
        $text .= "| $_ | $seen{kinds}{$_}{files} | $seen{kinds}{$_}{bytes} |\n" for @kinds;
        $text .= "\n$more more kinds are smaller.\n" if $more;
        $text .= "\n## Largest files\n\n";
        $text .= '- ' . plain($_->[0]) . ", $_->[1] bytes\n" for @{$seen{largest}};
    }
    my $step = 0;
    $text .= "\n## Draft plan\n\nNothing of this was done.\n\n";
    $text .= join '', map { ++$step . ". $_->[1]" . (@{$_->[2]} ? ' (' . plain(join ', ', @{$_->[2]}) . ')' : '') . "\n" } @steps;
    return $text;
}

sub plan {
    my $step = 0;
    my @written = map {
        '{"step":' . ++$step . ',"action":' . quote($_->[0]) . ',"what":' . quote($_->[1]) . ',"targets":[' . join(',', map { quote($_) } @{$_->[2]}) . ']}'
    } @steps;
    return '{"draft":true,"objective":' . (defined $objective ? quote($objective) : 'null')
        . ',"run":' . quote($ENV{EPARCH_RUN}) . ',"stage":' . quote($ENV{EPARCH_STAGE}) . ',"tier":' . quote($ENV{EPARCH_TIER})
        . ',"observed":{"files":' . $seen{files} . ',"bytes":' . $seen{bytes} . ',"folders":' . $seen{folders}
        . ',"head":' . (defined $head ? quote($head) : 'null') . '},"steps":[' . join(',', @written) . "],\"rollback\":\"nothing was changed\"}\n";
}

# JSON text; bytes that are not UTF-8 are written \xNN first.
sub quote {
    my $text = shift;
    return 'null' if !defined $text;
    my $probe = $text;
    $text =~ s/([\x80-\xff])/sprintf '\\x%02x', ord $1/ge if !utf8::decode($probe);
    $text =~ s/(["\\])/\\$1/g;
    $text =~ s/([\x00-\x1f\x7f])/sprintf '\\u%04x', ord $1/ge;
    return qq{"$text"};
}

# One line of Markdown in which nothing is markup.
sub plain {
    my ($text) = @_;
    my $probe = $text;
    $text =~ s/([\x80-\xff])/sprintf '\\x%02x', ord $1/ge if !utf8::decode($probe);
    $text =~ s/[\r\n\t]+/ /g;
    $text =~ s/([\x00-\x1f\x7f])/sprintf '\\x%02x', ord $1/ge;
    $text =~ s/([`*_\[\]<>|#&])/\\$1/g;
    return $text;
}

# At most a megabyte of a regular file; undef when there is none.
sub slurp {
    my ($path) = @_;
    return undef if !-f $path;
    open my $file, '<:raw', $path or return undef;
    read $file, my $content, 1 << 20;
    return $content;
}

sub write_file {
    my ($name, $content) = @_;
    open my $file, '>:raw', "$artifacts/$name" or fail("cannot write the artifact $name: $!");
    print {$file} $content;
    close $file or fail("cannot write the artifact $name: $!");
    return;
}

sub output {
    my ($lines) = @_;
    return if !defined $ENV{EPARCH_OUTPUT} || $ENV{EPARCH_OUTPUT} eq '';
    open my $file, '>>:raw', $ENV{EPARCH_OUTPUT} or fail("cannot append to EPARCH_OUTPUT: $!");
    print {$file} $lines;
    close $file or fail("cannot append to EPARCH_OUTPUT: $!");
    return;
}
