#!/usr/bin/env perl
# Tracked files that are too large, that are build products, or that tools make anew.

use strict;
use warnings;
use lib __FILE__ =~ m{\A(.*)/}s ? $1 : '.';
use Checkout;
use Report;

use constant MIB => 1 << 20;
use constant LARGE => 1 * MIB;
use constant HUGE => 10 * MIB;

my $PRODUCT = qr/\.(?:exe|dll|so|dylib|a|lib|o|obj|class|jar|war|ear|pyc|pyo|wasm|deb|rpm|apk|ipa|msi|dmg|iso|img|zip|tar|tgz|gz|bz2|xz|zst|7z|rar|db|sqlite3?)\z/i;
# First bytes of programs: ELF, Windows, Mach-O, Java.
my $PROGRAM = qr/\A(?:\x7fELF|MZ.{58}|\xcf\xfa\xed\xfe|\xfe\xed\xfa[\xce\xcf]|\xca\xfe\xba\xbe)/s;
my $GENERATED = qr{(?:\A|/)(node_modules|__pycache__|\.pytest_cache|\.mypy_cache|\.venv|\.terraform|\.gradle|\.DS_Store|Thumbs\.db)(?:/|\z)};

my $checkout = Checkout->from_env;
my $report = Report->begin('sizes');

# Sizes of the tracked blobs, not of the working tree: a large-file pointer is small, whatever lies there in its place.
# git is fed from a file, so that neither side can wait for the other.
my @blobs = grep { $_->{mode} =~ /\A(?:100|120)/ } $checkout->entries;
my $wanted = ($ENV{TMPDIR} || '/tmp') . "/code-review-blobs.$$";
open my $list, '>', $wanted or die "code-review: cannot write a temporary file: $!\n";
print {$list} "$_->{oid}\n" for @blobs;
close $list or die "code-review: cannot write a temporary file: $!\n";
open my $saved, '<&', \*STDIN or die "code-review: cannot keep the input stream: $!\n";
open STDIN, '<', $wanted or die "code-review: cannot read a temporary file: $!\n";
my $answers = $checkout->stream('cat-file', '--batch-check=%(objectsize)');
open STDIN, '<&', $saved or die "code-review: cannot restore the input stream: $!\n";
for my $blob (@blobs) {
    my $answer = <$answers>;
    $blob->{size} = defined $answer && $answer =~ /\A([0-9]+)$/ ? $1 : undef;
    $checkout->{skipped}{'not in the object store'}++ if !defined $blob->{size};
}
$checkout->ended($answers);
unlink $wanted;

my %generated;
for my $entry (@blobs) {
    my ($path, $size) = @$entry{qw(path size)};
    if ($path =~ $GENERATED) {
        my $group = substr($path, 0, $+[1]);
        $generated{$group} = {path => $path, count => 0, kind => $1} if !$generated{$group};
        $generated{$group}{count}++;
        next;
    }
    next if $entry->{mode} eq '120000' || !defined $size;
    if ($size > LARGE) {
        $report->finding(
            rule => $size > HUGE ? 'EPR-Z001' : 'EPR-Z002', path => $path, evidence => 'size',
            message => sprintf('A tracked file of %.1f MiB.', $size / MIB),
        );
    }
    elsif (is_product($entry)) {
        $report->finding(
            rule => 'EPR-Z003', path => $path, evidence => 'product',
            message => 'A tracked binary file that looks like a program, an archive or another build product.',
        );
    }
}
for my $group (sort keys %generated) {
    my ($path, $count, $kind) = @{$generated{$group}}{qw(path count kind)};
    $report->finding(
        rule => 'EPR-Z004', path => $path, evidence => $group,
        message => $count == 1 ? "A tracked file of '$kind', which tools make anew." : "The first of $count tracked files under '$kind', which tools make anew.",
    );
}
$report->finish($checkout);

# A binary by its content, and a product by its name or first bytes: pictures, fonts and documents belong in a tree.
sub is_product {
    my ($entry) = @_;
    return 0 if !$checkout->plain_folders($entry->{path});
    my $full = "$checkout->{root}/$entry->{path}";
    return 0 if -l $full || !-f _;
    my $start = Checkout::slurp($full, Checkout::SNIFF_BYTES());
    return 0 if !defined $start || index($start, "\0") < 0;
    return $start =~ $PROGRAM || $entry->{path} =~ $PRODUCT;
}
