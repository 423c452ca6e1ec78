# Redraw with `gnuplot outcomes.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'outcomes.tsv'

# Outcomes from the ground up.
outcomes = 'right wrong looped truncated unboxed numeric'
colours = '#009E73 #D55E00 #882255 #CC79A7 #C8C8C8 #000000'
total(k) = sum [i = 1:k] column(word(outcomes, i))

# One pass over the rows: where each policy's bars begin and end, which outcomes there are, the title.
policies = ''; froms = ''; tos = ''; model = ''; dataset = ''; n_min = 1e18; n_max = 0; last = 0; longest = 1
array most[6]
do for [k = 1:6] { most[k] = 0 }
previous = ''
note_bar(p, x) = p eq previous ? (last = x, 0) \
    : (tos = words(froms) ? tos.sprintf(' %.2f', last) : tos, previous = p, policies = policies.' '.p, froms = froms.sprintf(' %.2f', x), last = x, 0)
note_text(m, d) = (model = m, dataset = d, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
note_most(k, v) = (most[k] = v > most[k] ? v : most[k], 0)
stats data using (note_bar(strcol('policy'), column('x')) + note_n(column('n')) + note_text(strcol('model'), strcol('dataset')) \
    + (sum [k = 1:6] note_most(k, column(word(outcomes, k))))) nooutput
tos = tos.sprintf(' %.2f', last)
present = ''
do for [k = 1:6] { if (most[k] > 0) { present = present.' '.k } }
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)
bars = words(froms)
do for [i = 1:bars] { # a name must not be wider than its bars, or it stands aslant
    room = word(tos, i) - word(froms, i) + 1.7
    need = 7.6 * strlen(word(policies, i)) / room
    longest = need > longest ? need : longest
}
bar = last > 24 ? 17 : 40
aslant = longest > bar * 1.15
width = 110 + bar * last < 640 ? 640 : 110 + bar * last
height = aslant ? 560 : 470
below = aslant ? 204.0 : 114.0
middle(i) = (word(froms, i) + word(tos, i)) / 2.0

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size width, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'outcomes.'.format
    load 'style.gp'
    set title dataset.'    '.model.'    '.counts font ',13'
    set style fill solid 1.0 border lc rgb '#ffffff'
    set boxwidth 0.86
    set xrange [0.3 : last + 0.7]
    set yrange [0 : 1]
    set ytics nomirror 0.2 format '%.1f'
    set ylabel 'share of answers; whisker: right, 95 %'
    set xtics nomirror scale 0 rotate by 90 right font ',10'
    set lmargin at screen 74.0 / width; set rmargin at screen 1 - 14.0 / width
    set bmargin at screen below / height; set tmargin at screen 1 - 44.0 / height
    set key at screen 0.5, screen 18.0 / height center center horizontal samplen 1.2 width 1.5 height 0 maxrows 1
    do for [i = 1:bars] {
        if (aslant) { set label i word(policies, i) at first middle(i) + 0.3, screen 154.0 / height right rotate by 35 font ',12' } \
        else { set label i word(policies, i) at first middle(i), screen 60.0 / height center font ',13' }
    }
    plot for [j = 0:5] data using 'x':(total(6 - j)):xticlabels(stringcolumn('budget')) with boxes notitle lc rgb word(colours, 6 - j), \
        data using 'x':'lo':(0):(column('hi') - column('lo')) notitle with vectors nohead lw 1.4 lc rgb '#000000', \
        for [k in present] keyentry with boxes lc rgb word(colours, k + 0) title word(outcomes, k + 0)
    unset label
    unset output
}
